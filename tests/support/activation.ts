/** Activations of either dtype in tests, and how near a result of each must be. */

import { roundToBfloat16, toBfloat16 } from "./bfloat16.ts";
import { assertAsGoodAsPlain, largestMagnitude, type Numbers } from "./compare.ts";
import type { Random } from "./random.ts";
import type { HostArray } from "./sentinel.ts";

export type Activation = "float32" | "bfloat16";

export const ACTIVATIONS: readonly Activation[] = ["float32", "bfloat16"];

/** Normal numbers that the dtype has. */
export function normalsOf(
  random: Random,
  n: number,
  options: { std?: number; dtype: Activation },
): Float32Array<ArrayBuffer> {
  const values = random.normals(n, options.std);
  return options.dtype === "bfloat16" ? values.map(roundToBfloat16) : values;
}

/** Values as a tensor of the dtype takes them. */
export function stored(values: Float32Array<ArrayBuffer>, dtype: Activation): HostArray {
  return dtype === "bfloat16" ? toBfloat16(values) : values;
}

/**
 * Passes where an output of the dtype is at most twice as far from the FP64 result as `plain`, the float32 oracle, or, in
 * bfloat16, as that result rounded once.
 */
export function assertActivation(
  output: {
    name: string;
    actual: Numbers;
    expected: Numbers;
    plain: Numbers;
    dtype: Activation;
    /** Of the terms that results are sums of, where these cancel. */
    magnitude?: number;
    /** Of the magnitude. @default 16 * 2^-24 */
    floor?: number;
  },
): void {
  const { name, actual, expected, dtype, magnitude = largestMagnitude(expected) } = output;
  const { floor = 16 * 2 ** -24 } = output;
  const plain = dtype === "bfloat16"
    ? Array.from(expected, (value) => roundToBfloat16(value))
    : output.plain;
  assertAsGoodAsPlain({ name, actual, expected, plain, magnitude, floor });
}
