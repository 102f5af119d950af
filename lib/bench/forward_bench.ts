/**
 * The forward product checked, then timed beside cuBLASLt.
 *
 * @module
 */

import type { Device } from "../ffi/device.ts";
import { NativeError } from "../ffi/errors.ts";
import {
  FORWARD_KERNELS,
  type ForwardKernel,
  type ForwardProduct,
  type ForwardSizes,
  makeForwardProduct,
} from "./forward_products.ts";
import { type KernelRow, kernelRow } from "./kernel_row.ts";
import { type LaunchTimingOptions, timeLaunches } from "./launch_timing.ts";
import { readNumbers } from "./periodic.ts";
import type { Roofs } from "./roofs.ts";

/** Options of {@linkcode benchForward}. */
export interface ForwardBenchOptions extends LaunchTimingOptions {
  readonly roofs: Roofs;
  /** Operands rotate through more than twice this. */
  readonly cacheBytes: number;
}

/** What results, and the parts of a divided depth, are rounded to, as a fraction of their size. */
const ROUNDING = { bfloat16: 2 ** -8, float16: 2 ** -11 } as const;
/** Sums of tensor cores over the sum of the magnitudes; those of FP8 keep 14 bits. */
const SUMS = { bf16: 2 ** -16, fp8: 2 ** -9 } as const;
const ROWS = 8;
const COLUMNS = 32;

/**
 * Measures one shape with every kernel that the device has.
 *
 * Every result is checked before anything is timed. cuBLASLt then runs each of its algorithms under the conditions of the
 * measurement, which is made with the fastest.
 *
 * Throws `Error` where a result is wrong.
 */
export function benchForward(
  device: Device,
  sizes: ForwardSizes,
  options: ForwardBenchOptions,
): { rows: KernelRow[]; float32ToPacked: number } {
  const { roofs, cacheBytes } = options;
  using stack = new DisposableStack();
  const products = (Object.keys(FORWARD_KERNELS) as ForwardKernel[]).flatMap((kernel) => {
    const product = makeForwardProduct(device, kernel, sizes, { cacheBytes });
    return product === null ? [] : [stack.use(product)];
  });
  const chosen = products.map((product) => {
    const algorithm = fastestAlgorithm(device, product);
    return { product, algorithm, runs: product.runs(algorithm.chosen) };
  });
  const errors = chosen.map(({ product, runs }) => {
    // What an algorithm before left there must not pass for this one's result.
    device.fill(product.result.address, 0xff, product.result.bytes);
    runs.at(-1)!();
    return checkForward(product, sizes);
  });
  const timings = timeLaunches(
    device,
    chosen.map(({ product, runs }) => ({ name: product.kernel, runs })),
    options,
  );
  const rival = chosen.findIndex(({ product }) => product.kernel === "cuBLASLt bf16");
  const { M, N, K } = sizes;
  const rows = chosen.map(({ product, algorithm }, index) => {
    const { kernel, algorithms, bytes } = product;
    const { arithmetic, peer } = FORWARD_KERNELS[kernel];
    const { chosen, refused } = algorithm;
    return kernelRow(
      {
        shape: `${M} x ${N} x ${K}`,
        kernel,
        operations: 2 * M * N * K,
        bytes,
        arithmetic,
        max_error: errors[index]!,
        ...(peer !== null && { algorithm: { chosen, refused, offered: algorithms } }),
      },
      timings[index]!,
      { roofs, rivalUs: rival < 0 ? null : timings[rival]!.us },
    );
  });
  const packed = products.find(({ kernel }) => kernel === "ternary 2-bit")!;
  return { rows, float32ToPacked: packed.float32ToWeights };
}

/**
 * Tries every algorithm under the conditions of the measurement. One that the library offers and then refuses to run is left out
 * and counted.
 */
function fastestAlgorithm(
  device: Device,
  product: ForwardProduct,
): { chosen: number; refused: number } {
  if (product.algorithms === 1) return { chosen: 0, refused: 0 };
  let chosen = 0, shortest = Infinity, refused = 0;
  let reason: unknown;
  for (let algorithm = 0; algorithm < product.algorithms; algorithm++) {
    try {
      const runs = product.runs(algorithm);
      const [timing] = timeLaunches(device, [{ name: product.kernel, runs }], {
        repeat: 3,
        sampleMs: 1,
      });
      if (timing!.us < shortest) [chosen, shortest] = [algorithm, timing!.us];
    } catch (error) {
      if (!(error instanceof NativeError) || error.op !== "tb_peer_gemm") throw error;
      refused++;
      reason = error;
    }
  }
  if (shortest === Infinity) throw reason;
  return { chosen, refused };
}

/** Some elements of the result in FP64: the largest error over the magnitude. Throws `Error` where one is wrong. */
export function checkForward(product: ForwardProduct, { M, N, K }: ForwardSizes): number {
  const { kernel, result } = product;
  const { arithmetic } = FORWARD_KERNELS[kernel];
  let largest = 0;
  for (const row of samples(M, ROWS)) {
    const values = readNumbers(result.rows(row, row + 1));
    for (const column of samples(N, COLUMNS)) {
      const actual = values[column]!;
      const { value, magnitude, typical, bits } = product.exact(row, column);
      const error = Math.abs(actual - value);
      const allowed = arithmetic === "int8"
        ? 0
        : ROUNDING[result.dtype as keyof typeof ROUNDING] * (Math.abs(value) + 4 * typical) +
          SUMS[arithmetic] * magnitude;
      const right = bits === null ? error <= allowed : actual === bits;
      if (!right) {
        throw new Error(
          `${kernel} of ${M} x ${N} x ${K} is wrong at (${row}, ${column}): current value is ${actual}, expected ${
            bits ?? value
          }`,
        );
      }
      if (magnitude > 0) largest = Math.max(largest, error / magnitude);
    }
  }
  return largest;
}

/** The first, the last and some in between, all different. */
export function samples(length: number, count: number): number[] {
  const chosen = new Set([0, length - 1]);
  while (chosen.size < Math.min(length, count)) chosen.add(Math.floor(Math.random() * length));
  return [...chosen];
}
