/** Analytic gradients against central differences of an FP64 function. */

import { assertClose } from "./compare.ts";
import type { Random } from "./random.ts";

/**
 * Passes where `gradient` is the gradient of `loss` at `at`, by central differences at up to `samples` elements.
 *
 * `loss` computes in double; the step is 1e-5, so agreement to about 1e-7 of the largest gradient is expected.
 */
export function assertGradient(
  options: {
    name: string;
    loss: (at: Float64Array) => number;
    at: Float64Array;
    gradient: ArrayLike<number>;
    random: Random;
    /** @default 24 */
    samples?: number;
    /** Of the largest sampled gradient. @default 1e-6 */
    tolerance?: number;
  },
): void {
  const { name, loss, at, gradient, random, samples = 24, tolerance = 1e-6 } = options;
  const step = 1e-5;
  const expected: number[] = [];
  const actual: number[] = [];
  const indices = at.length <= samples
    ? at.map((_, index) => index)
    : Array.from({ length: samples }, () => random.integer(0, at.length - 1));
  for (const index of indices) {
    const moved = at.slice();
    moved[index] = at[index]! + step;
    const above = loss(moved);
    moved[index] = at[index]! - step;
    expected.push((above - loss(moved)) / (2 * step));
    actual.push(gradient[index]!);
  }
  const largest = Math.max(1e-3, ...expected.map(Math.abs));
  assertClose({ name: `gradient of ${name}`, actual, expected, absolute: tolerance * largest });
}
