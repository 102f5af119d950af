import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { readTextFlag } from "../../lib/cli/files.ts";
import { loadRunConfig } from "../../lib/config/load.ts";
import { loadFaults } from "../../lib/config/load_faults.ts";
import { ModelFiles } from "../../lib/interop/model_files.ts";
import { decodeText, EncodingError } from "../../lib/std/text_file.ts";
import { startTokenBeside } from "../../lib/tokenizer/start_of_text.ts";
import { loadTokenizer } from "../../lib/tokenizer/tokenizer.ts";
import { smallJson } from "../tokenizer/small_files.ts";

const encoder = new TextEncoder();

/** Text in UTF-16 with its byte order mark. */
function utf16(text: string, littleEndian = true): Uint8Array {
  const bytes = new DataView(new ArrayBuffer(2 * text.length + 2));
  const units = [0xfeff, ...Array.from(text, (_, i) => text.charCodeAt(i))];
  units.forEach((unit, i) => bytes.setUint16(2 * i, unit, littleEndian));
  return new Uint8Array(bytes.buffer);
}

Deno.test("decodeText() drops one byte order mark in front and no other", () => {
  assertEquals(decodeText(encoder.encode("\ufeff\ufeffa\ufeff"), "f"), "\ufeffa\ufeff");
  assertEquals(decodeText(encoder.encode("é"), "f"), "é");
});

Deno.test("decodeText() refuses what is not UTF-8 with the file's name and the remedy", () => {
  const cases: [Uint8Array, string][] = [
    [utf16("a"), "text in UTF-16, not UTF-8"],
    [utf16("a", false), "text in UTF-16, not UTF-8"],
    [Uint8Array.of(0x61, 0xe9), "bytes that are not UTF-8"],
  ];
  for (const [bytes, found] of cases) {
    assertThrows(
      () => decodeText(bytes, "f.txt"),
      EncodingError,
      `Cannot read f.txt as it must be text in UTF-8: current value is ${found}; save it as UTF-8`,
    );
  }
});

/** A file that people write: its name, a text that it may hold, and what reads it. */
interface Written {
  readonly name: string;
  readonly what: string;
  readonly text: string;
  read(path: string): Promise<unknown>;
}

async function encode(path: string): Promise<unknown> {
  using tokenizer = await loadTokenizer(path);
  return [tokenizer.encode("aab c"), tokenizer.hash, tokenizer.json[0]];
}

const WRITTEN: Written[] = [
  {
    name: "run.yaml",
    what: "a run's config",
    text: "model: {size: 125M}\ndata: {train: a}\ntraining: {steps: 9, batch_sequences: 8}\n" +
      "optimizer: {lr: 1}\n",
    read: async (path) => (await loadRunConfig(path)).config.training.steps,
  },
  { name: "faults.yaml", what: "--inject", text: "- {kind: loss, steps: 4}\n", read: loadFaults },
  {
    name: "faults.json",
    what: "--inject in JSON",
    text: '[{"kind": "loss", "steps": 4}]',
    read: loadFaults,
  },
  {
    name: "prompts.txt",
    what: "--prompts",
    text: "a\nb\n",
    read: (path) => readTextFlag("prompts", path),
  },
  {
    name: "model.safetensors.index.json",
    what: "an index of shards",
    text: '{"weight_map": {}}',
    read: (path) => {
      using files = ModelFiles.open(join(path, ".."));
      return Promise.resolve(files.tensors.size);
    },
  },
  {
    name: "tokenizer.json",
    what: "a tokenizer.json of the native engine",
    text: JSON.stringify(smallJson("byte_level")),
    read: encode,
  },
  {
    name: "tokenizer.json",
    what: "a tokenizer.json of the package's engine",
    text: JSON.stringify({ ...smallJson("byte_level"), normalizer: { type: "NFC" } }),
    read: encode,
  },
  {
    name: "tokenizer_config.json",
    what: "a tokenizer_config.json",
    text: '{"add_bos_token": true, "bos_token": "<s>"}',
    read: (path) => Promise.resolve(startTokenBeside(join(path, "..", "tokenizer.json"))),
  },
];

async function withFile(name: string, body: (path: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "titanbit_text_" });
  try {
    await body(join(folder, name));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

for (const { name, what, text, read } of WRITTEN) {
  Deno.test(`${what} reads the same with a byte order mark in front`, () =>
    withFile(name, async (path) => {
      await Deno.writeTextFile(path, text);
      const plain = await read(path);
      await Deno.writeTextFile(path, "\ufeff" + text);
      assertEquals(await read(path), plain);
    }));

  Deno.test(`${what} in UTF-16 is refused with its name and the remedy`, () =>
    withFile(name, async (path) => {
      await Deno.writeFile(path, utf16(text));
      const { message } = await assertRejects(async () => await read(path), Error);
      assertStringIncludes(message, path);
      assertStringIncludes(message, "text in UTF-16, not UTF-8; ");
    }));
}
