/**
 * `tokenize`: turns text files into a token file.
 *
 * @module
 */
import { type Command, main, type ParsedArgs, UsageError } from "../lib/cli/command.ts";
import { onInterrupt } from "../lib/cli/interrupt.ts";
import { printable } from "../lib/cli/printable.ts";
import { tell } from "../lib/cli/progress.ts";
import type { InvalidUtf8 } from "../lib/data/text/extract.ts";
import { SOURCE_ENDINGS } from "../lib/data/text/source_files.ts";
import { describeTokenizing, TokenizeLines } from "../lib/cli/tokenize_report.ts";
import { tokenizeInput, type TokenizerChoice } from "../lib/data/tokenize/tokenize_input.ts";
import { openLibrary } from "../lib/ffi/library.ts";

export const command: Command = {
  name: "tokenize",
  summary: "turn text files into a token file, with a tokenizer given or trained",
  description:
    `Reads ${SOURCE_ENDINGS}, one file or all of a folder. The output is the same whatever the number of workers. ` +
    "Bad records are reported and left out. An interrupted run leaves nothing behind.",
  // deno-fmt-ignore
  flags: [
    { name: "input", kind: "string", placeholder: "PATH", help: "text file or folder", required: true },
    { name: "output", kind: "string", placeholder: "FILE.tokens", help: "token file to write", required: true },
    { name: "tokenizer", kind: "string", placeholder: "FILE", help: "tokenizer.json to use" },
    { name: "train-vocab", kind: "integer", placeholder: "N", help: "train a vocabulary of N tokens on the input instead", min: 258 },
    { name: "tokenizer-output", kind: "string", placeholder: "FILE.json", help: "where the trained tokenizer goes; by default tokenizer.json beside the output" },
    { name: "vocab-kind", kind: "string", help: "kind of vocabulary to train", choices: ["byte_level", "sentencepiece"], default: "byte_level" },
    { name: "val-fraction", kind: "number", placeholder: "F", help: "share of the documents held out in <name>.val.tokens", min: 0, max: 0.99, default: 0 },
    { name: "seed", kind: "integer", help: "chooses the documents held out", min: 0, default: 0 },
    { name: "text-field", kind: "string", placeholder: "NAME", help: "field (.jsonl) or column (.parquet) of the text", default: "text" },
    { name: "invalid-utf8", kind: "string", help: "what becomes of text that is no valid UTF-8", choices: ["replace", "skip", "error"], default: "replace" },
    { name: "max-errors", kind: "integer", placeholder: "N", help: "bad records to leave out before giving up", min: 0, default: 1000 },
    { name: "shard-tokens", kind: "integer", placeholder: "N", help: "begin a new file <name>_00001.tokens after N tokens", min: 1 },
    { name: "workers", kind: "integer", placeholder: "N", help: "threads that encode; by default as many cores as the input is worth", min: 1, max: 256 },
  ],
  examples: [
    "deno task tokenize --input data/sotu/train --output data/sotu.tokens --train-vocab 4096 --val-fraction 0.05",
    "deno task tokenize --input corpus.jsonl.gz --output data/corpus.tokens --tokenizer tokenizer.json",
    "deno task tokenize --input books/ --output data/books.tokens --tokenizer tokenizer.json --shard-tokens 100000000",
  ],
  run,
};

async function run(args: ParsedArgs): Promise<number> {
  const workers = args.optionalInteger("workers");
  using interrupt = onInterrupt(() => tell("\nstopping, nothing will be left behind"));
  const lines = new TokenizeLines();
  try {
    // deno-fmt-ignore
    const report = await tokenizeInput({
      input: args.string("input"), output: args.string("output"), tokenizer: chooseTokenizer(args),
      library: openLibrary({ device: "cpu" }),
      textField: args.string("text-field"), invalidUtf8: args.string("invalid-utf8") as InvalidUtf8,
      valFraction: args.number("val-fraction"), seed: args.integer("seed"),
      maxErrors: args.integer("max-errors"), shardTokens: args.optionalInteger("shard-tokens") ?? null,
      ...(workers === undefined ? {} : { workers }), signal: interrupt.signal,
      onSource: (source, totalBytes) => lines.start(source, totalBytes),
      onProgress: (progress) => lines.update(progress),
    });
    lines.finish();
    console.log(printable(describeTokenizing(report)));
    return 0;
  } catch (error) {
    if (interrupt.signal.aborted) return interrupt.exitCode;
    throw error;
  }
}

function chooseTokenizer(args: ParsedArgs): TokenizerChoice {
  const vocabSize = args.optionalInteger("train-vocab");
  const path = args.optionalString("tokenizer");
  const output = args.optionalString("tokenizer-output");
  if (path !== undefined && vocabSize === undefined) {
    if (output === undefined) return { path };
    throw new UsageError(
      `Cannot write a tokenizer to ${output} as none is trained: --tokenizer takes ${path} as it is. Leave out --tokenizer-output`,
    );
  }
  if (path === undefined && vocabSize !== undefined) {
    const kind = args.string("vocab-kind") as "byte_level" | "sentencepiece";
    return { vocabSize, kind, ...(output !== undefined && { output }) };
  }
  throw new UsageError(
    "Cannot tokenize as either --tokenizer or --train-vocab says how: give one of them",
  );
}

if (import.meta.main) await main(command);
