/**
 * Raw text to ids on one core, beside the official `tokenizers` package in the same process, rounds alternating.
 *
 *     deno run -A tests/tokenizer/tokenizer_bench.ts [folder of .txt files]
 *
 * The folder is data/sotu where not given (`deno task fetch-corpus`). Ours: one `encodeBatch` of all documents, from UTF-8 to ids
 * in an array of JavaScript. Cold: a tokenizer that has seen no word yet; warm: the median of the rounds after it. The
 * package: `encode` of one string after the other, without decoding the strings.
 */
import { fromFileUrl } from "@std/path";
import { walk } from "@std/fs";
import { Tokenizer as Official } from "tokenizers";
import { tokenizerFromJson } from "../../lib/tokenizer/tokenizer.ts";
import { TokenizerTrainer } from "../../lib/tokenizer/train.ts";
import { cl100kJson, gpt2Json, llamaJson, toBytes } from "./vocabularies.ts";

/** One vocabulary's figures, in 10^6 bytes of text a second. */
export interface TokenizerBenchRow {
  name: string;
  cold_mb_s: number;
  warm_mb_s: number;
  decode_mb_s: number;
  package_mb_s: number;
  /** warm / package. */
  ratio: number;
  /** Ids of ours and of the package over the documents that both encoded. */
  ids_equal: boolean;
}

/** Training of a vocabulary. */
export interface TrainerBenchRow {
  name: string;
  seconds: number;
  mb: number;
}

const ROUNDS = 5;
const PACKAGE_BYTES = 1_000_000;

/** The documents of a folder, recursive, in order of their paths. */
export async function readDocuments(folder: string): Promise<Uint8Array[]> {
  const paths: string[] = [];
  for await (const entry of walk(folder, { includeDirs: false, exts: [".txt"] })) {
    paths.push(entry.path);
  }
  if (paths.length === 0) throw new Error(`Cannot measure as ${folder} holds no .txt file`);
  return await Promise.all(paths.sort().map((path) => Deno.readFile(path)));
}

/** Measures real vocabularies over real documents. `tokenizers` adds the tokenizer.json files at those paths. */
async function tokenizerBench(
  documents: readonly Uint8Array[],
  tokenizers: readonly string[] = [],
): Promise<TokenizerBenchRow[]> {
  const vocabularies: [name: string, json: Uint8Array][] = [
    ["LLaMA 32k, SentencePiece", toBytes(llamaJson())],
    ["cl100k 100k, Llama 3 split", toBytes(cl100kJson())],
    ["GPT-2 50k", toBytes(gpt2Json())],
  ];
  for (const path of tokenizers) vocabularies.push([path, await Deno.readFile(path)]);
  const rows: TokenizerBenchRow[] = [];
  for (const [name, json] of vocabularies) rows.push(await measure(name, { json, documents }));
  return rows;
}

/** Measures training on the documents, counting included. */
function trainerBench(documents: readonly Uint8Array[]): TrainerBenchRow[] {
  const mb = sizeOf(documents) / 1e6;
  return (["byte_level", "sentencepiece"] as const).flatMap((kind) =>
    [4096, 8192, 32000].map((vocabSize) => {
      const start = performance.now();
      using trainer = new TokenizerTrainer({ vocabSize, kind });
      for (const document of documents) trainer.add(document);
      trainer.train();
      return { name: `${kind} ${vocabSize}`, seconds: (performance.now() - start) / 1e3, mb };
    })
  );
}

async function measure(
  name: string,
  { json, documents }: { json: Uint8Array; documents: readonly Uint8Array[] },
): Promise<TokenizerBenchRow> {
  using ours = await tokenizerFromJson(json);
  if (ours.engine !== "native") throw new Error(`Cannot measure ${name}: ${ours.engineReason}`);
  const official = Official.fromString(new TextDecoder().decode(json));
  const bytes = sizeOf(documents);
  const start = performance.now();
  const first = ours.encodeBatch(documents);
  const cold = bytes / (performance.now() - start) / 1e3;

  // Every tenth document or so: the package would take half a minute for all.
  const every = Math.max(1, Math.round(bytes / PACKAGE_BYTES));
  const sample = documents.filter((_, i) => i % every === 0);
  const texts = sample.map((document) =>
    new TextDecoder("utf-8", { ignoreBOM: true }).decode(document)
  );
  const warm: number[] = [], decode: number[] = [], theirs: number[] = [];
  let packageIds: number[][] = [];
  for (let round = 0; round < ROUNDS; round++) {
    warm.push(bytes / milliseconds(() => ours.encodeBatch(documents)) / 1e3);
    decode.push(bytes / milliseconds(() => ours.decodeBytes(first.ids)) / 1e3);
    if (round >= 2) continue;
    const begin = performance.now();
    packageIds = [];
    for (const text of texts) {
      packageIds.push((await official.encode(text, null, { addSpecialTokens: false })).getIds());
    }
    theirs.push(sizeOf(sample) / (performance.now() - begin) / 1e3);
  }
  const equal = sample.every((document, i) => {
    const ids = ours.encode(document);
    return ids.length === packageIds[i]!.length && ids.every((id, k) => id === packageIds[i]![k]);
  });
  return {
    name,
    cold_mb_s: round1(cold),
    warm_mb_s: round1(median(warm)),
    decode_mb_s: round1(median(decode)),
    package_mb_s: round1(Math.max(...theirs)),
    ratio: round1(median(warm) / Math.max(...theirs)),
    ids_equal: equal,
  };
}

function milliseconds(work: () => void): number {
  const start = performance.now();
  work();
  return performance.now() - start;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

function sizeOf(documents: readonly Uint8Array[]): number {
  return documents.reduce((sum, document) => sum + document.length, 0);
}

function round1(value: number): number {
  return Math.round(10 * value) / 10;
}

if (import.meta.main) {
  const [folder, ...tokenizers] = Deno.args;
  const documents = await readDocuments(
    folder ?? fromFileUrl(new URL("../../data/sotu", import.meta.url)),
  );
  console.log(`${documents.length} documents, ${(sizeOf(documents) / 1e6).toFixed(1)} MB`);
  console.table(await tokenizerBench(documents, tokenizers));
  console.table(trainerBench(documents));
}
