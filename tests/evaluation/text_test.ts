import { assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { DataError } from "../../lib/data/errors.ts";
import type { TokenDataset } from "../../lib/data/shards.ts";
import { LanguageModelEvaluator } from "../../lib/evaluation/language_model.ts";
import { openEvaluationData } from "../../lib/evaluation/text.ts";
import { TokenBytes } from "../../lib/evaluation/token_bytes.ts";
import type { NativeLibrary } from "../../lib/ffi/library.ts";
import { type Tokenizer, tokenizerFromJson } from "../../lib/tokenizer/tokenizer.ts";
import { writeTokens } from "../data/support.ts";
import { END_ID } from "../inference/support.ts";
import { byteTokenizer, withModel } from "./support.ts";

const TEXT = "Four score and seven years ago — our fathers …\n";

function open(
  path: string,
  options: { library: NativeLibrary; tokenizer: Tokenizer | null },
): Promise<TokenDataset> {
  return openEvaluationData(path, { vocabSize: 257, ...options });
}

Deno.test("openEvaluationData() gives a text the figures of its token file when both are evaluated", () =>
  withModel(async ({ model, device, folder }) => {
    using tokenizer = await byteTokenizer();
    await Deno.writeTextFile(join(folder, "a.txt"), TEXT);
    const ids = [...new TextEncoder().encode(TEXT), END_ID];
    writeTokens(join(folder, "a.tokens"), { ids, vocabSize: 257 });
    const options = { library: device.library, tokenizer };
    using text = await open(join(folder, "a.txt"), options);
    using tokens = await open(join(folder, "a.tokens"), options);
    const tokenBytes = new TokenBytes(tokenizer);
    using evaluator = new LanguageModelEvaluator(model, { seqLen: 16, tokenBytes });
    const { ms: _text, ...ofText } = evaluator.run(text);
    const { ms: _tokens, ...ofTokens } = evaluator.run(tokens);
    assertEquals(ofText, ofTokens);
    assertEquals([ofText.bytes, ofText.endTokens], [ids.length - 2, 1]);
    assertAlmostEquals(
      ofText.bitsPerByte!,
      ofText.loss * (ids.length - 1) / Math.LN2 / ofText.bytes!,
    );
  }));

Deno.test("openEvaluationData() leaves no temporary file when a text is open", () =>
  withModel(async ({ device, folder }) => {
    using tokenizer = await byteTokenizer();
    await Deno.writeTextFile(join(folder, "a.txt"), TEXT);
    using dataset = await open(join(folder, "a.txt"), { library: device.library, tokenizer });
    const { path } = dataset.shards[0]!;
    assertThrows(() => Deno.statSync(path), Deno.errors.NotFound);
  }));

Deno.test("openEvaluationData() ends each record when a text file holds JSON lines", () =>
  withModel(async ({ device, folder }) => {
    using tokenizer = await byteTokenizer();
    const path = join(folder, "a.jsonl");
    await Deno.writeTextFile(path, '{"text":"abc"}\n{"text":"de"}\n');
    using dataset = await open(path, { library: device.library, tokenizer });
    assertEquals(dataset.tokenCount, 3 + 1 + 2 + 1);
  }));

Deno.test("openEvaluationData() asks for a tokenizer when a text comes without one", () =>
  withModel(async ({ device, folder }) => {
    await Deno.writeTextFile(join(folder, "a.txt"), TEXT);
    await assertRejects(
      () => open(join(folder, "a.txt"), { library: device.library, tokenizer: null }),
      DataError,
      "needs the model's tokenizer.json",
    );
  }));

Deno.test("openEvaluationData() names text and tokenizer when that has more ids than the model", () =>
  withModel(async ({ device, folder }) => {
    using tokenizer = await byteTokenizer();
    const path = join(folder, "a.txt");
    await Deno.writeTextFile(path, TEXT);
    const tokenizerPath = "run/tokenizer.json";
    const { library } = device;
    await assertRejects(
      () => openEvaluationData(path, { library, tokenizer, tokenizerPath, vocabSize: 256 }),
      DataError,
      `Cannot evaluate on ${path} with run/tokenizer.json as it has 257 ids: the model's vocabulary has 256`,
    );
  }));

Deno.test("openEvaluationData() names no config key when a token file has more ids than the model", () =>
  withModel(async ({ device, folder }) => {
    using tokenizer = await byteTokenizer();
    const path = join(folder, "a.tokens");
    writeTokens(path, { ids: [1, 2, 3], vocabSize: 300 });
    const error = await assertRejects(
      () => open(path, { library: device.library, tokenizer }),
      DataError,
      `Cannot use ${path} as its vocabulary has 300 ids: the model's has 257. Tokenize the text`,
    );
    assertEquals(error.message.includes("model.vocab_size"), false);
  }));

Deno.test("openEvaluationData() names the file when it was made with another tokenizer", () =>
  withModel(async ({ device, folder }) => {
    using tokenizer = await byteTokenizer();
    const path = join(folder, "a.tokens");
    writeTokens(path, { ids: [1, 2, 3], vocabSize: 257, tokenizerHash: "ab".repeat(32) });
    await assertRejects(
      () => open(path, { library: device.library, tokenizer }),
      DataError,
      "another tokenizer",
    );
  }));

Deno.test("openEvaluationData() begins a text's documents as the model's did, and refuses a token file of others", () =>
  withModel(async ({ device, folder }) => {
    using tokenizer = await byteTokenizer();
    const options = { library: device.library, tokenizer, startIds: [END_ID] };
    const text = join(folder, "a.txt");
    Deno.writeTextFileSync(text, "ab");
    using dataset = await open(text, options);
    assertEquals([dataset.tokenCount, dataset.startIds], [4, [END_ID]]);
    const path = join(folder, "a.tokens");
    writeTokens(path, { ids: [1, 2, 3], vocabSize: 257 });
    await assertRejects(
      () => open(path, options),
      DataError,
      `Cannot use ${path} with the model as documents must begin alike`,
    );
  }));

Deno.test("TokenBytes finds the beginning of a document behind its first token", async () => {
  using tokenizer = await spacedTokenizer();
  const bytes = new TokenBytes(tokenizer, [1]);
  const [id] = tokenizer.encode("a");
  assertEquals([bytes.of(1, tokenizer.eosId!), bytes.of(id!, 1), bytes.of(id!, id!)], [0, 1, 2]);
});

for (const name of ["missing.txt", "missing.tokens"]) {
  Deno.test(`openEvaluationData() names the path when there is no ${name}`, () =>
    withModel(async ({ device, folder }) => {
      using tokenizer = await byteTokenizer();
      await assertRejects(
        () => open(join(folder, name), { library: device.library, tokenizer }),
        DataError,
        name,
      );
    }));
}

Deno.test("TokenBytes counts the bytes of a token and none of a document's end when asked", async () => {
  using tokenizer = await byteTokenizer();
  const bytes = new TokenBytes(tokenizer);
  assertEquals([bytes.of(65, 66), bytes.of(END_ID, 65), bytes.of(200, END_ID)], [1, 0, 1]);
});

/** A vocabulary of Llama 2's form: spaces are ▁, and one is put before a text. */
function spacedTokenizer() {
  const vocab: Record<string, number> = { "<unk>": 0, "<s>": 1, "</s>": 2 };
  for (let byte = 0; byte < 256; byte++) {
    vocab[`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`] = 3 + byte;
  }
  for (const token of ["▁", "a", "▁a"]) vocab[token] = Object.keys(vocab).length;
  const special = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  return tokenizerFromJson(
    new TextEncoder().encode(JSON.stringify({
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: ["<unk>", "<s>", "</s>"].map((content, id) => ({
        id,
        content,
        special: true,
        ...special,
      })),
      normalizer: {
        type: "Sequence",
        normalizers: [
          { type: "Prepend", prepend: "▁" },
          { type: "Replace", pattern: { String: " " }, content: "▁" },
        ],
      },
      pre_tokenizer: null,
      post_processor: null,
      decoder: {
        type: "Sequence",
        decoders: [
          { type: "Replace", pattern: { String: "▁" }, content: " " },
          { type: "ByteFallback" },
          { type: "Fuse" },
          { type: "Strip", content: " ", start: 1, stop: 0 },
        ],
      },
      model: {
        type: "BPE",
        dropout: null,
        unk_token: "<unk>",
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: true,
        byte_fallback: true,
        vocab,
        merges: ["▁ a"],
      },
    })),
  );
}

Deno.test("TokenBytes leaves out the space that a vocabulary puts before a document when a token begins one", async () => {
  using tokenizer = await spacedTokenizer();
  const bytes = new TokenBytes(tokenizer);
  const [id] = tokenizer.encode("a");
  assertEquals([bytes.of(id!, tokenizer.eosId!), bytes.of(id!, id!)], [1, 2]);
});
