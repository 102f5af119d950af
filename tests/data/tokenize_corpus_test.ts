import { gzipSync, zstdCompressSync } from "node:zlib";
import {
  assert,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { DataError } from "../../lib/data/errors.ts";
import { hashToUnit } from "../../lib/data/hash.ts";
import { findSourceFiles } from "../../lib/data/text/source_files.ts";
import { findTextCut } from "../../lib/data/text/text_cut.ts";
import { validationPath } from "../../lib/data/tokenize/corpus_writer.ts";
import {
  tokenizeCorpus,
  type TokenizeOptions,
  type TokenizeReport,
} from "../../lib/data/tokenize/tokenize_corpus.ts";
import { readTokenFileInfo } from "../../lib/data/token_format.ts";
import { type Tokenizer, tokenizerFromJson } from "../../lib/tokenizer/tokenizer.ts";
import { trainVocabulary } from "../../lib/data/tokenize/train_vocabulary.ts";
import { gpt2Json, llamaJson, toBytes } from "../tokenizer/vocabularies.ts";
import { inFolder, randomNumbers } from "./support.ts";
import { cpuLibrary, END, smallTokenizer, smallTokenizerJson } from "./text_support.ts";

/** Sentences with newlines of every kind between them. */
function story(length: number, seed = 1): string {
  const random = randomNumbers(seed);
  const words = ["the", "and", "in", "ship's", "Über", "世界", "12", "x=3;", "😀", "a"];
  const gaps = [" ", " ", " ", " ", "\n", "\n\n", "  ", ". ", ".\n", "\t"];
  let text = "";
  while (text.length < length) {
    text += words[random() % words.length]! + gaps[random() % gaps.length]!;
  }
  return text;
}

async function run(
  folder: string,
  options: Partial<TokenizeOptions> & { tokenizer: Tokenizer },
): Promise<TokenizeReport> {
  const source = await findSourceFiles(`${folder}/in`);
  return await tokenizeCorpus({
    source,
    output: `${folder}/out.tokens`,
    library: cpuLibrary(),
    workers: 1,
    ...options,
  });
}

function tokensOf(path: string): number[] {
  const { tokenWidth, dataOffset } = readTokenFileInfo(path);
  const { buffer } = Deno.readFileSync(path).slice(dataOffset);
  return Array.from(tokenWidth === 2 ? new Uint16Array(buffer) : new Uint32Array(buffer));
}

/** What the file must hold: each document encoded by itself, with the end behind it. */
function expectedTokens(tokenizer: Tokenizer, documents: readonly string[]): number[] {
  return documents.flatMap((text) => [...tokenizer.encode(text), tokenizer.eosId!]);
}

function splitDocuments(tokens: readonly number[]): string[] {
  const documents: string[] = [];
  for (let start = 0, i = 0; i < tokens.length; i++) {
    if (tokens[i] !== END) continue;
    documents.push(tokens.slice(start, i).join(" "));
    start = i + 1;
  }
  return documents;
}

/** Several files of several kinds; returns their documents in order. */
function writeCorpus(folder: string, count = 40): string[] {
  Deno.mkdirSync(`${folder}/in`);
  const documents = Array.from({ length: count }, (_, i) => `${i} ${story(50 + 37 * i, i)}`);
  const third = Math.floor(count / 3);
  for (let i = 0; i < third; i++) {
    Deno.writeTextFileSync(`${folder}/in/a${String(i).padStart(3, "0")}.txt`, documents[i]!);
  }
  const lines = documents.slice(third).map((text) => JSON.stringify({ text }) + "\n").join("");
  Deno.writeTextFileSync(`${folder}/in/b.jsonl`, lines);
  return documents;
}

function names(folder: string): string[] {
  return Array.from(Deno.readDirSync(folder), (entry) => entry.name).sort();
}

Deno.test("tokenizeCorpus() writes each document's ids with the end-of-text id behind them", () =>
  inFolder(async (folder) => {
    const documents = writeCorpus(folder);
    using tokenizer = await smallTokenizer();
    const report = await run(folder, { tokenizer });
    const expected = expectedTokens(tokenizer, documents);
    assertEquals(tokensOf(`${folder}/out.tokens`), expected);
    const info = readTokenFileInfo(`${folder}/out.tokens`);
    assertEquals(
      [info.documentCount, info.vocabSize, info.endOfDocumentId, info.tokenizerHash],
      [40, tokenizer.vocabSize, END, tokenizer.hash],
    );
    assertEquals([report.documents, report.tokens, report.problems], [40, expected.length, 0]);
    assertEquals(
      report.textBytes,
      documents.reduce((sum, text) => sum + new TextEncoder().encode(text).length, 0),
    );
  }));

Deno.test("tokenizeCorpus() begins each document with what the tokenizer puts before a text, once", () =>
  inFolder(async (folder) => {
    const documents = writeCorpus(folder);
    // A text of several units, and one that spells the token.
    documents.push(story(9000), "<|endoftext|>the end");
    documents.slice(-2).forEach((text, i) =>
      Deno.writeTextFileSync(`${folder}/in/z${i}.txt`, text)
    );
    const json = JSON.parse(new TextDecoder().decode(smallTokenizerJson()));
    json.post_processor = { type: "RobertaProcessing", sep: ["</s>", 9], cls: ["the", 7] };
    using tokenizer = await tokenizerFromJson(toBytes(json), { library: cpuLibrary() });
    for (const workers of [1, 2]) {
      const report = await run(folder, { tokenizer, workers, unitBytes: 3000 });
      const plain = (text: string) =>
        tokenizer.encodeBatch([new TextEncoder().encode(text)], { specialsAsText: true }).ids;
      assertEquals(
        tokensOf(`${folder}/out.tokens`),
        documents.flatMap((text) => [7, ...plain(text), END]),
      );
      assertEquals(readTokenFileInfo(`${folder}/out.tokens`).startIds, [7]);
      assertEquals([report.startTokens, report.endToken], [
        [tokenizer.tokenName(7)],
        "<|endoftext|>",
      ]);
    }
  }));

Deno.test("tokenizeCorpus() writes the same bytes whatever the number of workers", () =>
  inFolder(async (folder) => {
    writeCorpus(folder);
    // Some forty units: more than the workers hold at a time.
    Deno.writeTextFileSync(`${folder}/in/z.txt`, story(120_000));
    using tokenizer = await smallTokenizer();
    const files: Uint8Array[][] = [];
    for (const workers of [1, 2, 3]) {
      const output = `${folder}/${workers}.tokens`;
      await run(folder, { tokenizer, workers, output, unitBytes: 3000, valFraction: 0.3 });
      files.push([output, validationPath(output)].map((path) => Deno.readFileSync(path)));
    }
    assertEquals(files[1], files[0]);
    assertEquals(files[2], files[0]);
  }));

const VOCABULARIES: [string, () => Uint8Array][] = [
  ["a GPT-2 split", smallTokenizerJson],
  ["GPT-2's vocabulary", () => toBytes(gpt2Json())],
  ["LLaMA's SentencePiece vocabulary", () => toBytes(llamaJson())],
];
for (const [what, json] of VOCABULARIES) {
  Deno.test(`tokenizeCorpus() encodes a text cut into parts as if it were whole with ${what}`, () =>
    inFolder(async (folder) => {
      Deno.mkdirSync(`${folder}/in`);
      const text = story(150_000, 7);
      Deno.writeTextFileSync(`${folder}/in/a.txt`, text);
      using tokenizer = await tokenizerFromJson(json(), { library: cpuLibrary() });
      assert(findTextCut(tokenizer).exact);
      await run(folder, { tokenizer, unitBytes: 2000 });
      const found = tokensOf(`${folder}/out.tokens`);
      const expected = expectedTokens(tokenizer, [text]);
      assertEquals(found.length, expected.length);
      assertEquals(found.findIndex((id, i) => id !== expected[i]), -1);
    }));
}

Deno.test("tokenizeCorpus() reads a text that spells out the end-of-text token as plain text", () =>
  inFolder(async (folder) => {
    Deno.mkdirSync(`${folder}/in`);
    Deno.writeTextFileSync(`${folder}/in/a.txt`, "one<|endoftext|>two");
    using tokenizer = await smallTokenizer();
    await run(folder, { tokenizer });
    const tokens = tokensOf(`${folder}/out.tokens`);
    assertEquals(tokens.indexOf(END), tokens.length - 1);
    assertEquals(tokenizer.decode(tokens.slice(0, -1)), "one<|endoftext|>two");
  }));

Deno.test("tokenizeCorpus() splits documents into training and validation without losing any", () =>
  inFolder(async (folder) => {
    const documents = writeCorpus(folder, 400);
    using tokenizer = await smallTokenizer();
    const report = await run(folder, { tokenizer, valFraction: 0.25, seed: 3 });
    const train = splitDocuments(tokensOf(`${folder}/out.tokens`));
    const held = splitDocuments(tokensOf(`${folder}/out.val.tokens`));
    const all = documents.map((text) => tokenizer.encode(text).join(" "));
    assertEquals([...train, ...held].sort(), all.sort());
    // Binomial of 400 and 0.25: 100, standard deviation 8.7.
    assert(Math.abs(held.length - 100) < 5 * 8.7, `${held.length} held out`);
    assertEquals(report.files.map(({ split, documents }) => [split, documents]), [
      ["train", train.length],
      ["validation", held.length],
    ]);
  }));

Deno.test("tokenizeCorpus() holds out other documents with another seed", () =>
  inFolder(async (folder) => {
    writeCorpus(folder, 100);
    using tokenizer = await smallTokenizer();
    const held = [];
    for (const seed of [1, 1, 2]) {
      await run(folder, { tokenizer, valFraction: 0.3, seed });
      held.push(tokensOf(`${folder}/out.val.tokens`));
    }
    assertEquals(held[0], held[1]);
    assertNotEquals(held[0], held[2]);
  }));

Deno.test("tokenizeCorpus() refuses to train on what an earlier run held out when it holds out nothing", () =>
  inFolder(async (folder) => {
    writeCorpus(folder, 60);
    using tokenizer = await smallTokenizer();
    await run(folder, { tokenizer, valFraction: 0.3 });
    const before = names(folder).map((name) => [name, Deno.statSync(`${folder}/${name}`).mtime]);
    for (
      const [options, why] of [
        [{}, "no --val-fraction is given"],
        [{ valFraction: 1e-9 }, "none of the documents fell to --val-fraction 1e-9"],
      ] as const
    ) {
      const error = await assertRejects(() => run(folder, { tokenizer, ...options }), DataError);
      assertStringIncludes(error.message, `${folder}/out.val.tokens of an earlier run is there`);
      assertStringIncludes(error.message, why);
    }
    const after = names(folder).map((name) => [name, Deno.statSync(`${folder}/${name}`).mtime]);
    assertEquals(after, before);
  }));

for (const [count, remedy] of [[1, "Leave that out"], [3, "Take a smaller one"]] as const) {
  Deno.test(`tokenizeCorpus() throws a DataError and writes nothing when all of ${count} documents would be held out`, () =>
    inFolder(async (folder) => {
      writeCorpus(folder, count);
      using tokenizer = await smallTokenizer();
      const error = await assertRejects(
        () => run(folder, { tokenizer, valFraction: 0.999 }),
        DataError,
      );
      assertStringIncludes(error.message, "there must be something to train on");
      assertStringIncludes(error.message, `${remedy}, `);
      assertStringIncludes(error.message, "a .txt or .md file is one");
      assertEquals(names(folder), ["in"]);
    }));
}

Deno.test("tokenizeCorpus() writes no held-out file when the only document of it turns out bad", () =>
  inFolder(async (folder) => {
    Deno.mkdirSync(`${folder}/in`);
    Deno.writeTextFileSync(`${folder}/in/a.txt`, "fine");
    const bytes = new TextEncoder().encode(story(20_000));
    bytes[19_000] = 0;
    Deno.writeFileSync(`${folder}/in/b.txt`, bytes);
    using tokenizer = await smallTokenizer();
    // Of two documents this seed holds out the second.
    const seed = [...Array(100).keys()].find((seed) =>
      hashToUnit([seed, 0]) > 0.5 && hashToUnit([seed, 1]) < 0.5
    )!;
    const report = await run(folder, { tokenizer, unitBytes: 2000, valFraction: 0.5, seed });
    assertEquals(report.files.map(({ split }) => split), ["train"]);
    assertEquals(names(folder), ["in", "out.tokens"]);
  }));

Deno.test("tokenizeCorpus() cuts shards at document ends", () =>
  inFolder(async (folder) => {
    const documents = writeCorpus(folder);
    using tokenizer = await smallTokenizer();
    const report = await run(folder, { tokenizer, shardTokens: 5000, unitBytes: 3000 });
    assert(report.files.length > 3);
    assertEquals(names(folder), ["in", ...report.files.map((_, i) => `out_0000${i}.tokens`)]);
    const shards = report.files.map(({ path }) => tokensOf(path));
    assertEquals(shards.flat(), expectedTokens(tokenizer, documents));
    for (const shard of shards) assertEquals(shard.at(-1), END);
    for (const shard of shards.slice(0, -1)) assert(shard.length >= 5000);
    const again = await assertRejects(
      () => run(folder, { tokenizer, shardTokens: 5000 }),
      DataError,
    );
    assertStringIncludes(again.message, "out_0000");
  }));

Deno.test("tokenizeCorpus() leaves out the whole of a document that turns out bad far from its start", () =>
  inFolder(async (folder) => {
    const documents = writeCorpus(folder, 9);
    const bytes = new TextEncoder().encode(story(200_000));
    bytes[190_000] = 0;
    bytes[195_000] = 0;
    Deno.writeFileSync(`${folder}/in/a001x.txt`, bytes);
    using tokenizer = await smallTokenizer();
    const found: string[] = [];
    const report = await run(folder, {
      tokenizer,
      unitBytes: 5000,
      onProblem: (text) => found.push(text),
    });
    assertEquals(tokensOf(`${folder}/out.tokens`), expectedTokens(tokenizer, documents));
    assertEquals([report.problems, report.documents], [1, 9]);
    assertStringIncludes(found[0]!, `${folder}/in/a001x.txt: holds NUL bytes`);
  }));

Deno.test("tokenizeCorpus() names file and line of bad records", () =>
  inFolder(async (folder) => {
    writeCorpus(folder, 9);
    Deno.writeTextFileSync(`${folder}/in/c.jsonl`, '{"text": "fine"}\n{"text": 1}\n{oops\n');
    using tokenizer = await smallTokenizer();
    const report = await run(folder, { tokenizer });
    assertEquals([report.documents, report.problems], [10, 2]);
    assertStringIncludes(report.problemTexts[0]!, `${folder}/in/c.jsonl, line 2: has no text`);
    assertStringIncludes(report.problemTexts[1]!, `${folder}/in/c.jsonl, line 3: is no JSON`);
  }));

Deno.test("tokenizeCorpus() counts a file that can't be opened as one bad record", () =>
  inFolder(async (folder) => {
    const documents = writeCorpus(folder, 3);
    using tokenizer = await smallTokenizer();
    const source = await findSourceFiles(`${folder}/in`);
    const unopened = { ...source, unopened: ["in/a\\ufffd.txt"] };
    const report = await run(folder, { tokenizer, source: unopened, maxErrors: 1 });
    assertEquals([report.documents, report.problems], [documents.length, 1]);
    assertStringIncludes(report.problemTexts[0]!, "in/a\\ufffd.txt: can't be opened as its name");
    await assertRejects(
      () => run(folder, { tokenizer, source: unopened, maxErrors: 0 }),
      DataError,
      "at most 0 bad records may be left out; the last is in/a\\ufffd.txt",
    );
  }));

const FAILURES: [string, (folder: string) => void, Partial<TokenizeOptions>, string][] = [
  [
    "more records are bad than allowed",
    (folder) => {
      Deno.writeTextFileSync(`${folder}/in/c.jsonl`, "{\n".repeat(11));
    },
    { maxErrors: 10 },
    "at most 10 bad records",
  ],
  [
    "UTF-8 is invalid and that is an error",
    (folder) => {
      Deno.writeFileSync(`${folder}/in/z.txt`, Uint8Array.of(65, 255));
    },
    { invalidUtf8: "error" },
    "z.txt as it holds invalid UTF-8",
  ],
  [
    "no document can be used",
    (folder) => {
      Deno.removeSync(`${folder}/in`, { recursive: true });
      Deno.mkdirSync(`${folder}/in`);
      Deno.writeFileSync(`${folder}/in/a.txt`, Uint8Array.of(1, 0, 2));
    },
    {},
    "no document of it can be used: the only one is bad, ",
  ],
  [
    "a .jsonl.gz is cut short",
    (folder) => {
      const lines = story(200_000).split("\n").map((text) => JSON.stringify({ text }) + "\n");
      const bytes = gzipSync(lines.join(""));
      Deno.writeFileSync(`${folder}/in/c.jsonl.gz`, bytes.subarray(0, bytes.length - 500));
    },
    {},
    "as it cannot be read on: unexpected end of file. What follows in the file would be lost",
  ],
  [
    "a bit of a .jsonl.zst is flipped",
    (folder) => {
      const bytes = new Uint8Array(zstdCompressSync('{"text": "alike"}\n'.repeat(100_000)));
      // The second block's type becomes the reserved one: the decompressor has given out the first block by then.
      const second = 6 + 3 + ((bytes[6]! | bytes[7]! << 8 | bytes[8]! << 16) >> 3);
      bytes[second]! ^= 2;
      Deno.writeFileSync(`${folder}/in/c.jsonl.zst`, bytes);
    },
    {},
    "c.jsonl.zst, line ",
  ],
  ["the output has another ending", () => {}, { output: "x.bin" }, "ends in .tokens"],
];
for (const workers of [1, 2]) {
  for (const [what, prepare, options, message] of FAILURES) {
    Deno.test(`tokenizeCorpus() with ${workers} workers throws a DataError and leaves the old file alone when ${what}`, () =>
      inFolder(async (folder) => {
        writeCorpus(folder, 30);
        prepare(folder);
        Deno.writeTextFileSync(`${folder}/out.tokens`, "old");
        using tokenizer = await smallTokenizer();
        const all = { tokenizer, workers, unitBytes: 1000, valFraction: 0.2, ...options };
        await assertRejects(() => run(folder, all), DataError, message);
        assertEquals(names(folder), ["in", "out.tokens"]);
        assertEquals(Deno.readTextFileSync(`${folder}/out.tokens`), "old");
      }));
  }

  Deno.test(`tokenizeCorpus() with ${workers} workers leaves nothing behind when it is aborted`, () =>
    inFolder(async (folder) => {
      writeCorpus(folder, 100);
      using tokenizer = await smallTokenizer();
      const controller = new AbortController();
      let calls = 0;
      const onProgress = () => {
        if (++calls === 5) controller.abort();
      };
      const { signal } = controller;
      const options = { tokenizer, workers, unitBytes: 1000, valFraction: 0.2, signal, onProgress };
      const error = await assertRejects(() => run(folder, options), DOMException);
      assertEquals([error.name, names(folder), calls], ["AbortError", ["in"], 5]);
    }));
}

Deno.test("tokenizeCorpus() throws a DataError when the tokenizer has no end-of-text token", () =>
  inFolder(async (folder) => {
    writeCorpus(folder, 3);
    const text = new TextDecoder().decode(smallTokenizerJson()).replaceAll(
      "<|endoftext|>",
      "<|nothing|>",
    );
    using tokenizer = await tokenizerFromJson(new TextEncoder().encode(text), {
      library: cpuLibrary(),
    });
    await assertRejects(() => run(folder, { tokenizer }), DataError, "no end-of-text token");
  }));

Deno.test("tokenizeCorpus() saves the tokenizer's bytes when told to", () =>
  inFolder(async (folder) => {
    writeCorpus(folder, 3);
    using tokenizer = await smallTokenizer();
    await run(folder, { tokenizer, saveTokenizer: `${folder}/tokenizer.json` });
    assertEquals(Deno.readFileSync(`${folder}/tokenizer.json`), tokenizer.json);
  }));

Deno.test("trainVocabulary() throws a DataError with the file and line when a .jsonl.gz is cut short", () =>
  inFolder(async (folder) => {
    const bytes = gzipSync('{"text": "some text"}\n'.repeat(5000));
    Deno.writeFileSync(`${folder}/a.jsonl.gz`, bytes.subarray(0, bytes.length - 30));
    await assertRejects(
      async () =>
        await trainVocabulary({
          source: await findSourceFiles(folder),
          vocabSize: 300,
          library: cpuLibrary(),
          textField: "text",
          invalidUtf8: "replace",
        }),
      DataError,
      `Cannot tokenize ${folder}/a.jsonl.gz, line `,
    );
  }));
