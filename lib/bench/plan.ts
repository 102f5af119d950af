/**
 * What a command line of `bench` asks for.
 *
 * @module
 */

import { type Flag, type ParsedArgs, UsageError } from "../cli/command.ts";
import { type DeviceKind, openLibrary } from "../ffi/library.ts";
import { DECODE_SHAPES, type DecodeSize } from "./decode_model.ts";
import type { DecodeSuiteOptions } from "./decode_suite.ts";
import type { ForwardSizes } from "./forward_products.ts";
import type { KernelRunOptions } from "./kernel_run.ts";
import { GEMM_SHAPES, GEMV_SHAPES, type KernelSuite } from "./kernel_suites.ts";
import type { ProductSuiteOptions } from "./product_suite.ts";
import { cpuCases, type ProductCase, shapeCases } from "./suites.ts";

const SIZES = Object.keys(DECODE_SHAPES) as DecodeSize[];
const CACHES = ["float32", "bfloat16", "int8"] as const;
const HEADS = ["float32", "int8"] as const;
const SUITES = ["gemm", "gemv", "attention", "kernels", "decode", "cpu", "data"] as const;

type Suite = typeof SUITES[number];

/** Sizes that a command line leaves out, where it names another. */
const DEFAULT_SIZES = {
  cuda: { m: 2048, n: 2048, k: 2048 },
  cpu: { m: 512, n: 512, k: 2048 },
} as const;

/** Flags of `bench`. */
export const FLAGS: readonly Flag[] = [
  {
    name: "suite",
    kind: "string",
    help:
      "gemm: products at --m --n --k, on a card without them those of training; gemv: those of decoding; " +
      "attention: forward, backward, decoding; kernels: these three; decode: prompts and tokens of whole packed models; " +
      "cpu: products of training and decoding beside OpenBLAS; data: batches, tokenisation, the tokenizer " +
      "(default gemm with sizes or a card, else cpu)",
    choices: SUITES,
  },
  {
    name: "device",
    kind: "string",
    help: "device to measure",
    choices: ["auto", "cpu", "cuda"],
    default: "auto",
  },
  size("m", "rows of the product"),
  size("n", "columns of the product"),
  size("k", "depth of the product"),
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
    help: "decode: keys and values; a card has no float32",
    choices: [...CACHES, "all"],
    default: "all",
  },
  {
    name: "threads",
    kind: "string",
    help: "CPU: numbers of threads to measure with",
    placeholder: "N,N,…",
    default: "1,2",
  },
  { name: "repeat", kind: "integer", help: "rounds of measurement", min: 1, default: 15 },
  {
    name: "plot",
    kind: "string",
    help: "gemm on a card, gemv, attention, kernels: write a roofline chart",
    placeholder: "FILE.svg",
  },
  { name: "json", kind: "boolean", help: "print JSON" },
];

function size(name: "m" | "n" | "k", help: string): Flag {
  const card = DEFAULT_SIZES.cuda[name], cpu = DEFAULT_SIZES.cpu[name];
  const usual = card === cpu ? String(card) : `${card} on a card, ${cpu} on the CPU`;
  return {
    name,
    kind: "integer",
    help: `${help} (default ${usual})`,
    min: 1,
  };
}

/** What is to be run. */
export type BenchPlan =
  | { readonly suite: "data" }
  | { readonly suite: "decode"; readonly options: DecodeSuiteOptions }
  | {
    readonly suite: "products";
    readonly cases: ProductCase[];
    readonly options: ProductSuiteOptions;
  }
  | { readonly suite: "kernels"; readonly options: KernelRunOptions };

/** `findBackend` says which build a kind of device stands for. Throws {@linkcode UsageError} where flags don't go together. */
export function planBench(
  args: ParsedArgs,
  findBackend = (device: DeviceKind) => openLibrary({ device }).backend,
): BenchPlan {
  const kind = args.string("device") as DeviceKind;
  const sized = (["m", "n", "k"] as const).filter((name) => args.has(name));
  const asked = args.optionalString("suite") as Suite | undefined;
  if (sized.length > 0 && asked !== undefined && asked !== "gemm") {
    throw new UsageError(
      `Cannot run bench as --${sized[0]} is a size of suite gemm: current suite is ${asked}`,
    );
  }
  if ((asked === "cpu" || asked === "data") && kind === "cuda") {
    throw new UsageError(
      `Cannot run bench as suite ${asked} is measured on the CPU: current value of --device is cuda`,
    );
  }
  const backend = asked === "cpu" || asked === "data" ? "cpu" : findBackend(kind);
  const suite = asked ?? (sized.length > 0 || backend === "cuda" ? "gemm" : "cpu");
  if (backend === "cuda" && args.has("threads")) {
    throw new UsageError(
      "Cannot run bench as --threads is the CPU build's: leave it out, or give --device cpu",
    );
  }
  const threads = backend === "cuda" ? null : threadCounts(args.string("threads"));
  const plot = args.optionalString("plot") ?? null;
  const plan = planSuite(args, { suite, backend, threads, plot });
  if (plot !== null && plan.suite !== "kernels") {
    throw new UsageError(
      `Cannot draw --plot as a roofline is of suites gemm on a card, gemv, attention and kernels: current suite is ${suite}` +
        (suite === "gemm" ? " on the CPU" : ""),
    );
  }
  if (plot !== null && threads !== null && threads.length > 1) {
    throw new UsageError(
      `Cannot draw --plot as a roofline is of one number of threads: current value is ${threads}, give one`,
    );
  }
  return plan;
}

function planSuite(
  args: ParsedArgs,
  { suite, backend, threads, plot }: {
    suite: Suite;
    backend: "cuda" | "cpu";
    threads: readonly number[] | null;
    plot: string | null;
  },
): BenchPlan {
  const shared = { repeat: args.integer("repeat"), json: args.boolean("json") };
  if (suite === "data") return { suite };
  if (suite === "decode") return { suite, options: { ...decodeOptions(args, threads), ...shared } };
  const defaults = DEFAULT_SIZES[backend];
  const sizeOf = (name: "m" | "n" | "k") => args.optionalInteger(name) ?? defaults[name];
  if (suite === "cpu" || suite === "gemm" && threads !== null) {
    const sizes = { rows: sizeOf("m"), columns: sizeOf("n"), depth: sizeOf("k") };
    return {
      suite: "products",
      cases: suite === "cpu" ? cpuCases() : shapeCases(sizes),
      options: { threads: threads!, ...shared },
    };
  }
  const one = { M: sizeOf("m"), N: sizeOf("n"), K: sizeOf("k") };
  const isSized = ["m", "n", "k"].some((name) => args.has(name));
  const suites: KernelSuite[] = suite !== "kernels"
    ? [suite]
    : backend === "cuda"
    ? ["gemm", "gemv", "attention"]
    : ["gemv", "attention"]; // gemm has its rival in suite gemm
  const shapes: Record<"gemm" | "gemv", readonly ForwardSizes[]> = {
    gemm: isSized ? [one] : GEMM_SHAPES,
    gemv: GEMV_SHAPES,
  };
  return { suite: "kernels", options: { suites, shapes, threads, plot, ...shared } };
}

function decodeOptions(
  args: ParsedArgs,
  threads: readonly number[] | null,
): Omit<DecodeSuiteOptions, "repeat" | "json"> {
  const chosen = (flag: string) => (one: string) => [one, "all"].includes(args.string(flag));
  if (threads === null && args.string("cache") === "float32") {
    throw new UsageError(
      "Cannot run suite decode as keys and values are bfloat16 or int8 on a card: current value of --cache is float32",
    );
  }
  return {
    sizes: SIZES.filter(chosen("size")),
    heads: HEADS.filter(chosen("head")),
    caches: CACHES.filter(chosen("cache")).filter((one) => threads !== null || one !== "float32"),
    threads,
  };
}

function threadCounts(text: string): number[] {
  const counts = text.split(",").map(Number);
  if (counts.every((count) => Number.isInteger(count) && count > 0)) return counts;
  throw new UsageError(
    `Cannot measure as --threads must be numbers like 1,2: current value is ${text}`,
  );
}
