/**
 * Suites of kernels: which shapes are measured, and running them.
 *
 * @module
 */

import type { Device } from "../ffi/device.ts";
import { type AttentionSizes, makeDecoding, makeTraining } from "./attention_problems.ts";
import { benchForward } from "./forward_bench.ts";
import type { ForwardSizes } from "./forward_products.ts";
import { type KernelRow, kernelRow } from "./kernel_row.ts";
import { timeLaunches } from "./launch_timing.ts";
import { findRoofs, type Roofs } from "./roofs.ts";

/** Suites that run on a card; `gemv` and `attention` run on the CPU too. */
export type KernelSuite = "gemm" | "gemv" | "attention";

/** Gate and up, and down of 1.3B; down of 3B turned around; a square. */
export const GEMM_SHAPES: readonly ForwardSizes[] = [
  { M: 16384, N: 11264, K: 2048 },
  { M: 16384, N: 2048, K: 5632 },
  { M: 16384, N: 8704, K: 3200 },
  { M: 2048, N: 2048, K: 2048 },
];

/** Decoding: one token, and sixteen. */
export const GEMV_SHAPES: readonly ForwardSizes[] = [
  { M: 1, N: 2560, K: 2560 },
  { M: 1, N: 3200, K: 3200 },
  { M: 1, N: 20480, K: 3200 },
  { M: 1, N: 2048, K: 2048 },
  { M: 1, N: 11264, K: 2048 },
  { M: 16, N: 8192, K: 8192 },
];

/** Micro-batches of 1.3B, 125M, 3B, a width of 128 and long sequences; decoding beside 4,096 tokens. */
export const ATTENTION_SHAPES: AttentionShapes = {
  training: [
    { B: 8, H: 32, T: 2048, E: 64 },
    { B: 32, H: 12, T: 2048, E: 64 },
    { B: 4, H: 32, T: 2048, E: 100 },
    { B: 4, H: 32, T: 2048, E: 128 },
    { B: 2, H: 32, T: 8192, E: 64 },
  ],
  decoding: [
    { B: 1, H: 32, T: 4096, E: 64 },
    { B: 16, H: 32, T: 4096, E: 64 },
    { B: 16, H: 32, T: 4096, E: 100 },
  ],
};

/** What two cores compute in seconds. */
export const CPU_ATTENTION_SHAPES: AttentionShapes = {
  training: [{ B: 1, H: 8, T: 512, E: 64 }],
  decoding: [{ B: 1, H: 32, T: 4096, E: 64 }],
};

/** Shapes of suite attention. */
export interface AttentionShapes {
  readonly training: readonly AttentionSizes[];
  readonly decoding: readonly AttentionSizes[];
}

/** What a suite measured; the names are those of the JSON. */
export interface KernelReport {
  readonly suite: KernelSuite;
  readonly rows: readonly KernelRow[];
  /** Bytes of the weights as float32 over those of the 2-bit buffers; null where there are none. */
  readonly float32_to_packed: number | null;
}

/** Options of a suite. */
export interface KernelSuiteOptions {
  /** Samples of each kernel. */
  readonly repeat: number;
  readonly roofs: Roofs;
  /** Operands rotate through more than twice this. @default the card's L2; on the CPU 32 MiB */
  readonly cacheBytes?: number;
  /** Milliseconds that a sample should last. @default 4 */
  readonly sampleMs?: number;
}

const CPU_CACHE_BYTES = 32 << 20;
const COPY_BYTES = { cuda: 1 << 30, cpu: 256 << 20 };

/** The roofs of a device, measured by a copy beyond every cache. */
export function measureRoofs(device: Device, repeat: number): Roofs {
  return findRoofs(device, { bytes: COPY_BYTES[device.backend], repeat });
}

/** Measures forward products. */
export function runForwardSuite(
  device: Device,
  suite: "gemm" | "gemv",
  options: KernelSuiteOptions & { shapes: readonly ForwardSizes[] },
): KernelReport {
  const cacheBytes = cacheBytesOf(device, options);
  const measured = options.shapes.map((sizes) =>
    benchForward(device, sizes, { ...options, cacheBytes })
  );
  return {
    suite,
    rows: measured.flatMap(({ rows }) => rows),
    float32_to_packed: Math.min(...measured.map(({ float32ToPacked }) => float32ToPacked)),
  };
}

/** Measures attention: forward, backward, decoding. */
export function runAttentionSuite(
  device: Device,
  shapes: AttentionShapes,
  options: KernelSuiteOptions,
): KernelReport {
  const cacheBytes = cacheBytesOf(device, options);
  const rows: KernelRow[] = [];
  for (const kind of ["training", "decoding"] as const) {
    for (const sizes of shapes[kind]) {
      const { B, H, T, E } = sizes;
      using problem = (kind === "training" ? makeTraining : makeDecoding)(device, sizes, {
        cacheBytes,
      });
      for (const op of problem.ops) {
        const work = {
          shape: `${B} x ${H} x ${T} x ${E}`,
          kernel: op.name,
          operations: op.operations,
          bytes: op.bytes,
          arithmetic: "bf16",
          max_error: op.check(),
        } as const;
        const [timing] = timeLaunches(device, [op], options);
        rows.push(kernelRow(work, timing!, { roofs: options.roofs, rivalUs: null }));
      }
    }
  }
  return { suite: "attention", rows, float32_to_packed: null };
}

function cacheBytesOf(device: Device, { cacheBytes }: KernelSuiteOptions): number {
  return cacheBytes ?? device.description.l2Bytes ?? CPU_CACHE_BYTES;
}
