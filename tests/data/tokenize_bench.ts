/**
 * Raw text to token file, end to end on one thread: reading, UTF-8 check, encoding, writing with fsync.
 *
 *     deno run -A tests/data/tokenize_bench.ts data/sotu/train
 */
import { findSourceFiles } from "../../lib/data/text/source_files.ts";
import { tokenizeCorpus } from "../../lib/data/tokenize/tokenize_corpus.ts";
import { tokenizerFromJson } from "../../lib/tokenizer/tokenizer.ts";
import { cl100kJson, llamaJson, toBytes } from "../tokenizer/vocabularies.ts";
import { cpuLibrary } from "./text_support.ts";

/** One measured case. */
export interface TokenizeBenchRow {
  name: string;
  /** Megabytes (10^6) of text a second and core; the median of the rounds. The goal is 15. */
  mb_per_s: number;
  /** The same of the first round, with an empty word cache. */
  cold_mb_per_s: number;
  text_mb: number;
  tokens: number;
}

const ROUNDS = 5;
const REPEATS = 4;

/** Measures a folder of .txt files as it is and as one .jsonl, with two real vocabularies. */
async function tokenizeBench(corpus: string): Promise<TokenizeBenchRow[]> {
  const folder = Deno.makeTempDirSync({ prefix: "titanbit_tokenize_bench_" });
  try {
    const { files } = await findSourceFiles(corpus);
    const texts = files.filter(({ kind }) => kind === "text").map(({ path }) =>
      Deno.readTextFileSync(path)
    );
    // A corpus larger than the caches of words: the same texts several times, cut into records of about 2 kB.
    Deno.writeTextFileSync(`${folder}/corpus.txt`, texts.join("\n").repeat(REPEATS));
    using lines = Deno.openSync(`${folder}/corpus.jsonl`, { create: true, write: true });
    for (let repeat = 0; repeat < REPEATS; repeat++) {
      for (const text of texts) {
        for (const record of text.match(/.{1,2000}/gs)!) {
          lines.writeSync(new TextEncoder().encode(JSON.stringify({ text: record }) + "\n"));
        }
      }
    }
    const vocabularies = {
      "LLaMA 32k (SentencePiece)": llamaJson(),
      "cl100k (Llama 3's split)": cl100kJson(),
    };
    const rows: TokenizeBenchRow[] = [];
    for (const [vocabulary, json] of Object.entries(vocabularies)) {
      for (const input of ["corpus.txt", "corpus.jsonl"]) {
        rows.push(
          await measure(`${vocabulary}, ${input.split(".")[1]}`, {
            folder,
            input,
            json: toBytes(json),
          }),
        );
      }
    }
    return rows;
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

async function measure(
  name: string,
  run: { folder: string; input: string; json: Uint8Array },
): Promise<TokenizeBenchRow> {
  const library = cpuLibrary();
  const source = await findSourceFiles(`${run.folder}/${run.input}`);
  using tokenizer = await tokenizerFromJson(run.json, { library });
  const rates: number[] = [];
  let report;
  for (let round = 0; round < ROUNDS; round++) {
    const output = `${run.folder}/out.tokens`;
    report = await tokenizeCorpus({ source, output, tokenizer, library, workers: 1 });
    rates.push(report.textBytes / 1e6 / report.seconds);
  }
  return {
    name,
    mb_per_s: [...rates].sort((a, b) => a - b)[ROUNDS >> 1]!,
    cold_mb_per_s: rates[0]!,
    text_mb: report!.textBytes / 1e6,
    tokens: report!.tokens,
  };
}

if (import.meta.main) {
  for (const row of await tokenizeBench(Deno.args[0] ?? "data/sotu/train")) {
    const { name, mb_per_s, cold_mb_per_s, text_mb, tokens } = row;
    console.log(
      `${name.padEnd(34)} ${mb_per_s.toFixed(1).padStart(6)} MB/s (first round ${
        cold_mb_per_s.toFixed(1)
      }), ${text_mb.toFixed(1)} MB, ${tokens} tokens`,
    );
  }
}
