/**
 * Matrix products checked, then timed beside OpenBLAS.
 *
 * @module
 */

import { Device } from "../ffi/device.ts";
import type { OpenBlas } from "../ffi/openblas.ts";
import { alternate } from "./measure.ts";
import { makeProduct, type Product, type ProductName, type ProductSizes } from "./products.ts";

/** One measured case; the names are those of the JSON. */
export interface ProductRow {
  /** C function without `tb_`. */
  op: ProductName;
  rows: number;
  columns: number;
  depth: number;
  threads: number;
  /** Median microseconds a call. */
  ours_us: number;
  /** Half the distance between the quartiles over the median. */
  ours_spread: number;
  /** 2 * rows * columns * depth a second, in thousands of millions (of float32 or integer operations). */
  ours_gop_per_s: number;
  /** Bytes of operands and result over the time. */
  ours_gbyte_per_s: number;
  /** The same product of float32 matrices by sgemm; null without OpenBLAS. */
  openblas_us: number | null;
  openblas_spread: number | null;
  /** Median over the rounds of OpenBLAS's time over ours: above 1 is faster than OpenBLAS. */
  speedup: number | null;
  /** Largest error of the elements looked at in FP64, over the sum of the magnitudes of the element's terms. */
  max_error: number;
}

/** Options of {@linkcode benchProduct}. */
export interface ProductBenchOptions {
  sizes: ProductSizes;
  threads: number;
  /** Rounds of measurement. */
  repeat: number;
  openblas: OpenBlas | null;
}

const SAMPLES = 256;
// OpenBLAS's idle threads were seen to spin for 110 ms after a call, taking a core from the other side. Threads that wake from a
// longer sleep start on the core of the one that woke them and take up to 70 ms to spread: steady speed is what a training sees.
const MANY_THREADS = { pauseMs: 200, warmMs: 80, sampleMs: 20 };

/** Checks one product, then times it. Throws `Error` where a result is wrong. */
export async function benchProduct(
  op: ProductName,
  options: ProductBenchOptions,
): Promise<ProductRow> {
  const { sizes, threads, repeat, openblas } = options;
  using device = Device.open({ kind: "cpu", threads });
  using product = makeProduct(device, op, sizes);
  const sides = [() => product.run()];
  if (openblas !== null) {
    openblas.setThreads(threads);
    sides.push(() => sgemm(openblas, product, sizes));
  }
  for (const side of sides) side();
  const maxError = check(op, product, sizes, openblas !== null);
  const { timings, ratios } = await alternate(sides, {
    repeat,
    ...(threads > 1 && MANY_THREADS),
  });
  const [ours, rival] = timings;
  const operations = 2 * sizes.rows * sizes.columns * sizes.depth;
  return {
    op,
    ...sizes,
    threads,
    ours_us: ours!.medianUs,
    ours_spread: ours!.spread,
    ours_gop_per_s: operations / ours!.medianUs / 1e3,
    ours_gbyte_per_s: product.bytes / ours!.medianUs / 1e3,
    openblas_us: rival?.medianUs ?? null,
    openblas_spread: rival?.spread ?? null,
    speedup: ratios[1] ?? null,
    max_error: maxError,
  };
}

function sgemm(openblas: OpenBlas, product: Product, sizes: ProductSizes): void {
  openblas.sgemm({
    a: product.a.address,
    b: product.b.address,
    c: product.rivalResult.address,
    M: sizes.rows,
    N: sizes.columns,
    K: sizes.depth,
    transposeA: product.transposeA,
    transposeB: product.transposeB,
  });
}

/** Some elements in FP64, and every element beside the rival's. */
function check(
  op: ProductName,
  product: Product,
  { rows, columns, depth }: ProductSizes,
  hasRival: boolean,
): number {
  const result = product.result.toFloat32Array();
  // Errors of float32 sums grow with the square root of their length where they are random.
  const tolerance = 2 ** -24 * (4 + 2 * Math.sqrt(depth));
  let largest = 0;
  let typical = 0;
  for (let sample = 0; sample < SAMPLES; sample++) {
    const index = Math.floor(Math.random() * result.length);
    const row = Math.floor(index / columns);
    const { value, magnitude } = product.exact(row, index % columns);
    const error = Math.abs(result[index]! - value) / magnitude;
    if (!(error <= tolerance)) {
      throw new Error(
        `${op} of ${rows} x ${columns} x ${depth} is wrong at (${row}, ${
          index % columns
        }): current value is ${result[index]}, expected ${value}`,
      );
    }
    largest = Math.max(largest, error);
    typical = Math.max(typical, magnitude);
  }
  if (hasRival) {
    const rival = product.rivalResult.toFloat32Array();
    for (let index = 0; index < result.length; index++) {
      if (!(Math.abs(result[index]! - rival[index]!) <= 4 * tolerance * typical)) {
        throw new Error(
          `${op} of ${rows} x ${columns} x ${depth} differs from OpenBLAS at element ${index}: current value is ${
            result[index]
          }, OpenBLAS gives ${rival[index]}`,
        );
      }
    }
  }
  return largest;
}
