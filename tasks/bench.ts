/**
 * Measures the native library's ops beside their rivals.
 *
 * @module
 */

import { fromFileUrl } from "@std/path";
import { runDataSuite } from "../lib/bench/data_suite.ts";
import { DECODE_SHAPES, type DecodeSize } from "../lib/bench/decode_model.ts";
import { runDecodeSuite } from "../lib/bench/decode_suite.ts";
import { runProductSuite } from "../lib/bench/product_suite.ts";
import { cpuCases, shapeCases } from "../lib/bench/suites.ts";
import { type Command, main, type ParsedArgs, UsageError } from "../lib/cli/command.ts";

const SIZES = Object.keys(DECODE_SHAPES) as DecodeSize[];
const CACHES = ["float32", "bfloat16"] as const;
const HEADS = ["float32", "int8"] as const;

/** `bench`. */
export const command: Command = {
  name: "bench",
  summary: "measure kernels beside their rivals",
  description:
    "Every result is checked in FP64 before it is timed. Both sides take turns in one process; times\n" +
    "are medians. A speedup above 1 is faster than OpenBLAS's sgemm on the same product of float32.",
  flags: [
    {
      name: "suite",
      kind: "string",
      help: "cpu: products of training and decoding; gemm: every product at --m --n --k; " +
        "decode: prompts and tokens of whole packed models; data: batches, tokenisation, the tokenizer",
      choices: ["cpu", "gemm", "decode", "data"],
      default: "cpu",
    },
    { name: "m", kind: "integer", help: "rows of the product", min: 1, default: 512 },
    { name: "n", kind: "integer", help: "columns of the product", min: 1, default: 512 },
    { name: "k", kind: "integer", help: "depth of the product", min: 1, default: 2048 },
    {
      name: "size",
      kind: "string",
      help: "decode: shape of the model",
      choices: [...SIZES, "all"],
      default: "all",
    },
    {
      name: "head",
      kind: "string",
      help: "decode: weights of the head",
      choices: [...HEADS, "all"],
      default: "int8",
    },
    {
      name: "cache",
      kind: "string",
      help: "decode: keys and values",
      choices: [...CACHES, "all"],
      default: "all",
    },
    {
      name: "threads",
      kind: "string",
      help: "numbers of threads to measure with",
      placeholder: "N,N,…",
      default: "1,2",
    },
    { name: "repeat", kind: "integer", help: "rounds of measurement", min: 1, default: 15 },
    { name: "json", kind: "boolean", help: "print JSON" },
  ],
  examples: [
    "deno task bench --suite cpu",
    "deno task bench --suite data",
    "deno task bench --suite decode --size 1.3B --threads 2 --repeat 5",
    "deno task bench --suite gemm --m 64 --n 5632 --k 2048 --threads 2",
  ],
  run,
};

async function run(args: ParsedArgs): Promise<void> {
  const suite = args.string("suite");
  if (suite === "data") {
    return await runDataSuite(fromFileUrl(new URL("..", import.meta.url)));
  }
  const threads = threadCounts(args.string("threads"));
  const shared = { threads, repeat: args.integer("repeat"), json: args.boolean("json") };
  if (suite === "decode") {
    const chosen = (flag: string) => (one: string) => [one, "all"].includes(args.string(flag));
    return runDecodeSuite({
      sizes: SIZES.filter(chosen("size")),
      heads: HEADS.filter(chosen("head")),
      caches: CACHES.filter(chosen("cache")),
      ...shared,
    });
  }
  const sizes = { rows: args.integer("m"), columns: args.integer("n"), depth: args.integer("k") };
  await runProductSuite(suite === "cpu" ? cpuCases() : shapeCases(sizes), shared);
}

function threadCounts(text: string): number[] {
  const counts = text.split(",").map(Number);
  if (counts.every((count) => Number.isInteger(count) && count > 0)) return counts;
  throw new UsageError(
    `Cannot measure as --threads must be numbers like 1,2: current value is ${text}`,
  );
}

if (import.meta.main) await main(command);
