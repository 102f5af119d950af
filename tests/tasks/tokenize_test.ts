import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { BatchLoader } from "../../lib/data/loader.ts";
import { TokenDataset } from "../../lib/data/shards.ts";
import { readTokenFileInfo } from "../../lib/data/token_format.ts";
import { loadTokenizer } from "../../lib/tokenizer/tokenizer.ts";
import { inFolder } from "../data/support.ts";
import { cpuLibrary, smallTokenizerJson } from "../data/text_support.ts";
import { taskPermissions } from "./support.ts";

const TASK = fromFileUrl(new URL("../../tasks/tokenize.ts", import.meta.url));
const CONFIG = fromFileUrl(new URL("../../deno.json", import.meta.url));

/** The command with the permissions of its task; `--no-check` as it is checked with the suite. */
function start(folder: string, args: readonly string[]): Deno.ChildProcess {
  return new Deno.Command("deno", {
    args: [
      ...["run", "--no-prompt", "--no-check", "--config", CONFIG],
      ...[...taskPermissions("tokenize"), TASK, ...args],
    ],
    cwd: folder,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

async function run(folder: string, args: readonly string[]) {
  const { code, stdout, stderr } = await start(folder, args).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

function names(folder: string): string[] {
  return Array.from(Deno.readDirSync(folder), (entry) => entry.name).sort();
}

function writeTexts(folder: string, count: number): void {
  Deno.mkdirSync(`${folder}/in`);
  for (let i = 0; i < count; i++) {
    const text = `Document ${i} tells of the ship and the sea, ${
      "again and ".repeat(i % 7)
    }again.\n`;
    Deno.writeTextFileSync(`${folder}/in/${i}.txt`, text.repeat(20));
  }
}

Deno.test("tokenize trains a vocabulary and writes files that a loader reads back as the text", () =>
  inFolder(async (folder) => {
    writeTexts(folder, 60);
    const args = [
      "--input",
      "in",
      "--output",
      "out/a.tokens",
      "--train-vocab",
      "300",
      "--val-fraction",
      "0.2",
    ];
    const { code, stdout, stderr } = await run(folder, args);
    assertEquals(code, 0, stderr);
    assertEquals(names(`${folder}/out`), ["a.tokens", "a.val.tokens", "tokenizer.json"]);
    assertMatch(
      stdout,
      /^[\d.]+ [KM]iB of text in [\d.]+ m?s, [\d.]+ [KM]iB\/s, [\d.]+ bytes a token$/m,
    );
    assertStringIncludes(
      stdout,
      "out/tokenizer.json: a vocabulary of 300 tokens; set model.vocab_size to 300\n",
    );
    assertStringIncludes(stderr, "vocabulary 300 tokens\n");
    assert(!stdout.includes("warning"), stdout);
    using tokenizer = await loadTokenizer(`${folder}/out/tokenizer.json`, {
      library: cpuLibrary(),
    });
    using dataset = TokenDataset.open(`${folder}/out`, {
      library: cpuLibrary(),
      vocabSize: tokenizer.vocabSize,
      tokenizerHash: tokenizer.hash,
    });
    const loader = new BatchLoader(dataset, { batchSize: 1, seqLen: 20, shuffle: false });
    const batch = { ids: new Int32Array(20), targets: new Int32Array(20) };
    loader.next(batch);
    assert(/^Document \d+ tells of the ship/.test(tokenizer.decode(Array.from(batch.ids))));
  }));

Deno.test("tokenize prints bad records with their file and line and exits with 0", () =>
  inFolder(async (folder) => {
    Deno.writeTextFileSync(`${folder}/a.jsonl`, '{"text": "fine"}\n{"text": 3}\n');
    Deno.writeFileSync(`${folder}/tokenizer.json`, smallTokenizerJson());
    const args = ["--input", "a.jsonl", "--output", "a.tokens", "--tokenizer", "tokenizer.json"];
    const { code, stdout } = await run(folder, args);
    assertEquals(code, 0);
    assertStringIncludes(stdout, "left out 1 bad record:\n  a.jsonl, line 2: has no text");
  }));

const REFUSED: [string, string[], string][] = [
  [
    "the input is missing",
    ["--input", "none", "--train-vocab", "300"],
    "there is no such file or folder",
  ],
  ["the input is empty", ["--input", "empty.txt", "--train-vocab", "300"], "it is empty"],
  ["the input is binary", ["--input", "binary.txt", "--tokenizer", "tokenizer.json"], "NUL bytes"],
  [
    "the tokenizer is missing",
    ["--input", "a.txt", "--tokenizer", "none.json"],
    "there is no such file",
  ],
  [
    "the output's folder can't be made",
    ["--input", "a.txt", "--output", "a.txt/b/out.tokens", "--tokenizer", "tokenizer.json"],
    "Cannot write a.txt/b/out.tokens as its folder must be writable: Not a directory",
  ],
  [
    "the output's folder takes no files",
    ["--input", "a.txt", "--output", "/proc/out.tokens", "--train-vocab", "300"],
    "Cannot write /proc/out.tokens as its folder must be writable: it is a special file or folder of the system",
  ],
  [
    "the input is a special file",
    ["--input", "/proc/cpuinfo", "--tokenizer", "tokenizer.json"],
    "Cannot read /proc/cpuinfo as it must be a file or folder of text: it is a special file or folder of the system",
  ],
  ["no tokenizer is named", ["--input", "a.txt"], "either --tokenizer or --train-vocab"],
  [
    "--tokenizer-output goes with a tokenizer that is not trained",
    ["--input", "a.txt", "--tokenizer", "tokenizer.json", "--tokenizer-output", "b.json"],
    "Cannot write a tokenizer to b.json as none is trained",
  ],
];
for (const [what, args, message] of REFUSED) {
  Deno.test(`tokenize exits with 1, an error and no output when ${what}`, () =>
    inFolder(async (folder) => {
      Deno.writeTextFileSync(`${folder}/a.txt`, "text");
      Deno.writeTextFileSync(`${folder}/empty.txt`, "");
      Deno.writeFileSync(`${folder}/binary.txt`, Uint8Array.of(1, 2, 0, 3));
      Deno.writeFileSync(`${folder}/tokenizer.json`, smallTokenizerJson());
      const before = names(folder);
      const { code, stderr } = await run(
        folder,
        args.includes("--output") ? args : [...args, "--output", "out.tokens"],
      );
      assertEquals([code, names(folder)], [1, before]);
      assert(/^error: /m.test(stderr) && stderr.includes(message), stderr);
      assert(!stderr.includes("    at "), "a stack trace is shown");
    }));
}

Deno.test("tokenize says how large the vocabulary is when the text gives fewer tokens than --train-vocab", () =>
  inFolder(async (folder) => {
    Deno.writeTextFileSync(`${folder}/a.txt`, "a text of few words\n".repeat(9));
    const args = ["--input", "a.txt", "--output", "a.tokens", "--train-vocab", "100000"];
    const { code, stdout } = await run(folder, args);
    using tokenizer = await loadTokenizer(`${folder}/tokenizer.json`, { library: cpuLibrary() });
    const { vocabSize } = tokenizer;
    assertEquals(code, 0);
    assertStringIncludes(stdout, `set model.vocab_size to ${vocabSize}\n`);
    assertStringIncludes(
      stdout,
      `warning: the vocabulary has ${vocabSize} tokens, not the 100000 of --train-vocab`,
    );
  }));

Deno.test("tokenize warns that a text file is one document when it is the only one and not held out", () =>
  inFolder(async (folder) => {
    Deno.writeTextFileSync(`${folder}/a.txt`, "a text\n");
    Deno.writeFileSync(`${folder}/tokenizer.json`, smallTokenizerJson());
    const args = ["--input", "a.txt", "--output", "a.tokens", "--tokenizer", "tokenizer.json"];
    const { stdout } = await run(folder, [...args, "--val-fraction", "0.000001"]);
    assertMatch(stdout, /^warning: none of 1 document .* Give more documents: a \.txt .* is one/m);
  }));

Deno.test("tokenize refuses to replace a tokenizer in use when it has a byte order mark", () =>
  inFolder(async (folder) => {
    const tokenizer = `${folder}/data/tokenizer.json`;
    writeTexts(folder, 30);
    Deno.mkdirSync(`${folder}/data`);
    Deno.writeFileSync(tokenizer, smallTokenizerJson());
    Deno.writeTextFileSync(tokenizer, "\ufeff" + Deno.readTextFileSync(tokenizer));
    const given = ["--input", "in", "--output", "data/a.tokens", "--tokenizer", tokenizer];
    assertEquals((await run(folder, given)).code, 0);
    const trained = ["--input", "in", "--output", "data/b.tokens", "--train-vocab", "300"];
    const { code, stderr } = await run(folder, trained);
    assertEquals(code, 1);
    assertStringIncludes(stderr, "Cannot replace data/tokenizer.json as data/a.tokens beside it");
  }));

Deno.test("tokenize refuses before any work to replace a tokenizer when other token files were made with it", () =>
  inFolder(async (folder) => {
    writeTexts(folder, 30);
    const args = ["--input", "in", "--train-vocab", "300", "--output"];
    assertEquals((await run(folder, [...args, "data/a.tokens"])).code, 0);
    const before = Deno.readFileSync(`${folder}/data/tokenizer.json`);
    const { code, stderr } = await run(folder, [...args, "data/b.tokens"]);
    assertEquals([code, names(`${folder}/data`)], [1, ["a.tokens", "tokenizer.json"]]);
    assertStringIncludes(
      stderr,
      "Cannot replace data/tokenizer.json as data/a.tokens beside it can only be used with it",
    );
    assert(!stderr.includes("vocabulary"), stderr);
    assertEquals(Deno.readFileSync(`${folder}/data/tokenizer.json`), before);
  }));

Deno.test("tokenize replaces a tokenizer when only the files that it writes were made with it", () =>
  inFolder(async (folder) => {
    writeTexts(folder, 30);
    const args = ["--input", "in", "--output", "a.tokens", "--val-fraction", "0.3"];
    for (const size of ["300", "310"]) {
      const { code, stderr } = await run(folder, [...args, "--train-vocab", size]);
      assertEquals(code, 0, stderr);
    }
    using tokenizer = await loadTokenizer(`${folder}/tokenizer.json`, { library: cpuLibrary() });
    const { hash, vocabSize } = tokenizer;
    const info = readTokenFileInfo(`${folder}/a.tokens`);
    assertEquals([vocabSize, info.tokenizerHash], [310, hash]);
  }));

Deno.test("tokenize writes the trained tokenizer to --tokenizer-output when that is given", () =>
  inFolder(async (folder) => {
    writeTexts(folder, 30);
    Deno.writeTextFileSync(`${folder}/tokenizer.json`, "another's");
    const args = ["--input", "in", "--output", "a.tokens", "--tokenizer-output", "own/a.json"];
    const { code, stderr } = await run(folder, [...args, "--train-vocab", "300"]);
    assertEquals([code, names(`${folder}/own`)], [0, ["a.json"]], stderr);
    assertEquals(Deno.readTextFileSync(`${folder}/tokenizer.json`), "another's");
  }));

for (const workers of ["1", "2"]) {
  Deno.test(`tokenize with ${workers} workers exits with 130 and leaves nothing behind when interrupted`, () =>
    inFolder(async (folder) => {
      const text = "the ship sailed and the wind in the sails\n".repeat(25_000);
      {
        using file = Deno.openSync(`${folder}/a.txt`, { create: true, write: true });
        const bytes = new TextEncoder().encode(text);
        for (let i = 0; i < 150; i++) file.writeSync(bytes);
      }
      Deno.writeFileSync(`${folder}/tokenizer.json`, smallTokenizerJson());
      const args = ["--input", "a.txt", "--output", "out.tokens", "--tokenizer", "tokenizer.json"];
      const child = start(folder, [...args, "--workers", workers, "--val-fraction", "0.5"]);
      const output = child.output();
      const deadline = performance.now() + 20_000;
      // The temporary file grows: work is under way.
      const isWorking = () =>
        names(folder).some((name) =>
          name.includes(".tmp-") && Deno.statSync(`${folder}/${name}`).size > 4096
        );
      while (!isWorking() && performance.now() < deadline) {
        await new Promise((wake) => setTimeout(wake, 5));
      }
      child.kill("SIGINT");
      const { code, stderr } = await output;
      assertEquals(code, 130, new TextDecoder().decode(stderr));
      assertEquals(names(folder), ["a.txt", "tokenizer.json"]);
    }));
}
