/**
 * How fast a packed model reads a prompt and writes tokens, and what limits it.
 *
 * @module
 */

import { Device } from "../ffi/device.ts";
import { timeOps } from "../ffi/op_times.ts";
import { type GenerationReport, TokenGenerator } from "../inference/generate.ts";
import { Int8Head } from "../inference/int8_head.ts";
import type { HeadWeights } from "../inference/load_model.ts";
import { gemmInt8 } from "../kernels/gemm_int8.ts";
import { BYTES, type CacheDType } from "../tensor/dtype.ts";
import { Arena } from "../tensor/arena.ts";
import { checkPacked, decodeConfig, type DecodeSize, randomPackedModel } from "./decode_model.ts";
import { measureRoofs } from "./kernel_suites.ts";
import { quantile } from "./measure.ts";

/** What is measured. */
export interface DecodeBenchOptions {
  readonly size: DecodeSize;
  readonly head: HeadWeights;
  /** What keys and values are kept in. */
  readonly cache: CacheDType;
  /** Of the CPU build; null measures on the card. */
  readonly threads: number | null;
  /** Rounds; each reads the prompt once and decodes at both contexts. */
  readonly repeat: number;
}

/** Tokens a second over the rounds. */
export interface Rate {
  readonly median: number;
  readonly best: number;
  /** Half the distance between the quartiles over the median. */
  readonly spread: number;
}

/** A measured model; the names are those of the JSON. */
export interface DecodeRow {
  readonly size: DecodeSize;
  readonly head: HeadWeights;
  readonly cache: CacheDType;
  /** Null: measured on the card. */
  readonly threads: number | null;
  /** A prompt of 512 tokens. */
  readonly prefill_tok_per_s: Rate;
  /** Tokens 1 to 32 of an empty context, and 513 to 544. */
  readonly decode_empty_tok_per_s: Rate;
  readonly decode_512_tok_per_s: Rate;
  /** What a token at context 512 reads. */
  readonly bytes_a_token: { readonly projections: number; readonly head: number; cache: number };
  /** The median rate at context 512 times these bytes. */
  readonly gbyte_per_s: number;
  /** CPU: the fastest of this run's streaming reads, one row by an int8 matrix of 256 MiB. Card: a copy's reads and writes. */
  readonly memory_gbyte_per_s: number;
  readonly share_of_memory: number;
  /** Microseconds of a token at context 512, with a clock around every op. Null on a card, whose ops run after their calls. */
  readonly us_a_token: Readonly<Record<TimePart, number>> | null;
  /** Bytes of the projections as float32 over those of the packed buffers. */
  readonly float32_to_packed: number;
}

/** What a token's time goes to; `rest` is everything outside the ops, and the small ones. */
export type TimePart = "projections" | "head" | "attention" | "norms" | "rest";

const PART_OF_OP: Readonly<Record<string, TimePart>> = {
  tb_gemm_ternary_packed_forward: "projections",
  tb_gemm: "head",
  tb_gemm_int8: "head",
  tb_attention_decode: "attention",
  tb_rope_forward: "attention",
  tb_rope_attention_decode: "attention",
  tb_rmsnorm_forward: "norms",
  tb_glu_norm_forward: "norms",
};

const CONTEXT = 512;
const TOKENS = 32;

/** Checks a shape, then measures it. Throws `Error` where packed weights give other logits than latent ones. */
export function benchDecode(options: DecodeBenchOptions): DecodeRow {
  const { size, head, cache, threads, repeat } = options;
  using device = Device.open(threads === null ? { kind: "cuda" } : { kind: "cpu", threads });
  checkPacked(device, size);
  const config = decodeConfig(size);
  const packed = randomPackedModel(device, config, head);
  using model = packed.model;
  using generator = new TokenGenerator(model, {
    capacity: CONTEXT + TOKENS + 1,
    cacheDtype: cache,
  });
  const prompt = Array.from({ length: CONTEXT }, (_, i) => (i * 7919) % config.vocabSize);
  const run = (ids: number[]) => finish(generator, ids);
  run(prompt); // takes memory and wakes threads
  const prefill: number[] = [], empty: number[] = [], full: number[] = [], memory: number[] = [];
  using stream = device.backend === "cpu" ? streamingRead(device) : null;
  if (stream === null) memory.push(measureRoofs(device, repeat).memoryBytesPerS / 1e9);
  for (let round = 0; round < repeat; round++) {
    if (stream !== null) memory.push(stream.gbytePerS());
    const long = run(prompt), short = run([1]);
    prefill.push(1000 * CONTEXT / long.prefillMs);
    full.push(1000 * long.decodePasses / long.decodeMs);
    empty.push(1000 * short.decodePasses / short.decodeMs);
  }
  const weights = packed.projections.flatMap((projection) => projection.weights);
  const sum = (of: (weight: typeof weights[number]) => number) =>
    weights.reduce((total, weight) => total + of(weight), 0);
  const bytes = {
    projections: sum(({ packed, scale }) => packed.bytes + scale.bytes),
    // A head of float32 is multiplied in the activations' dtype.
    head: model.head instanceof Int8Head
      ? model.head.bytes
      : model.head.weight.value.length * BYTES[model.dtype],
    cache: 2 * config.numLayers * config.numKvHeads * (CONTEXT + TOKENS / 2) *
      (config.headDim * BYTES[cache] + (cache === "int8" ? BYTES.float32 : 0)),
  };
  const rate = rateOf(full);
  const gbytePerS = rate.median * (bytes.projections + bytes.head + bytes.cache) / 1e9;
  const memoryGbytePerS = Math.max(...memory);
  return {
    size,
    head,
    cache,
    threads,
    prefill_tok_per_s: rateOf(prefill),
    decode_empty_tok_per_s: rateOf(empty),
    decode_512_tok_per_s: rate,
    bytes_a_token: bytes,
    gbyte_per_s: gbytePerS,
    memory_gbyte_per_s: memoryGbytePerS,
    share_of_memory: gbytePerS / memoryGbytePerS,
    us_a_token: device.backend === "cpu" ? timeParts(device, generator, prompt) : null,
    float32_to_packed: sum((w) => 4 * w.outFeatures * w.inFeatures) / sum((w) => w.packed.bytes),
  };
}

function rateOf(perSecond: number[]): Rate {
  const median = quantile(perSecond, 0.5);
  const spread = (quantile(perSecond, 0.75) - quantile(perSecond, 0.25)) / 2 / median;
  return { median, best: Math.max(...perSecond), spread };
}

/** Reads the prompt and writes {@linkcode TOKENS}; `prefilled` is called in between. */
function finish(
  generator: TokenGenerator,
  prompt: number[],
  prefilled: () => void = () => {},
): GenerationReport {
  const generation = generator.generate(prompt, { maxTokens: TOKENS + 1, temperature: 0 });
  let next = generation.next();
  prefilled();
  while (!next.done) next = generation.next();
  return next.value;
}

/** Last of all, as the clocks stay. */
function timeParts(
  device: Device,
  generator: TokenGenerator,
  prompt: number[],
): Record<TimePart, number> {
  const times = timeOps(device);
  const report = finish(generator, prompt, () => times.clear());
  const parts: Record<TimePart, number> = {
    projections: 0,
    head: 0,
    attention: 0,
    norms: 0,
    rest: 1000 * report.decodeMs / report.decodePasses,
  };
  for (const [op, ms] of times) {
    const part = PART_OF_OP[op] ?? "rest";
    if (part === "rest") continue;
    const us = 1000 * ms / report.decodePasses;
    parts[part] += us;
    parts.rest -= us;
  }
  return parts;
}

/** The op that does the least work a byte, over more bytes than caches hold. */
function streamingRead(device: Device): Disposable & { gbytePerS(): number } {
  const arena = new Arena("streaming read");
  const [rows, columns] = [1 << 16, 1 << 12];
  const x = arena.tensor("x", "float32", [1, columns]);
  const w = arena.tensor("w", "int8", [rows, columns]);
  const wScale = arena.tensor("w scale", "float32", [rows]);
  const y = arena.tensor("y", "float32", [1, rows]);
  arena.commit(device);
  w.zero();
  return {
    gbytePerS() {
      const start = performance.now();
      gemmInt8({ x, w, wScale, y });
      return w.bytes / (performance.now() - start) / 1e6;
    },
    [Symbol.dispose]: () => arena[Symbol.dispose](),
  };
}
