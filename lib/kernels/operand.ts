/**
 * How operands travel to the native library.
 *
 * @module
 */

import { expectTensor, type Tensor } from "../tensor/tensor.ts";

/** Address of an operand that may be left out: 0 stands for none. */
export function addressOf(tensor: Tensor | null | undefined): bigint {
  return tensor ? tensor.address : 0n;
}

/** Checks an operand that may be left out; see {@linkcode expectTensor}. */
export function expectOptional(
  tensor: Tensor | null | undefined,
  expected: Parameters<typeof expectTensor>[1],
): void {
  if (tensor) expectTensor(tensor, expected);
}

/** Keys and values, and their scales where they are int8. */
export interface CacheOperands {
  readonly k: Tensor;
  readonly v: Tensor;
  readonly kScale: Tensor | null | undefined;
  readonly vScale: Tensor | null | undefined;
}

/** Checks a cache of keys and values, both of shape (B, G, capacity, E) and of one dtype; scales have its first three sizes. */
export function expectCache(
  { k, v, kScale, vScale }: CacheOperands,
  { op, shape }: { op: string; shape: readonly [number, number, number, number] },
): void {
  for (const tensor of [k, v]) expectTensor(tensor, { op, dtype: k.dtype, shape });
  for (const scale of [kScale, vScale]) {
    if (scale) expectTensor(scale, { op, dtype: "float32", shape: shape.slice(0, 3) });
  }
}

/** As many numbers as dimensions are named: `"N, D"` has two. */
type Sizes<Names extends string> = Names extends `${string}, ${infer Rest}`
  ? [number, ...Sizes<Rest>]
  : [number];

/** How many dimensions a text names: ops are called thousands of times a second, with a few texts. */
const counts = new Map<string, number>();

/**
 * The sizes of a tensor with the dimensions named. Throws `RangeError` naming the op, the tensor and its shape where it has another
 * number of them.
 */
export function sizesOf<Names extends string>(
  tensor: Tensor,
  expected: { op: string; dimensions: Names },
): Sizes<Names> {
  let count = counts.get(expected.dimensions);
  if (count === undefined) {
    counts.set(expected.dimensions, count = expected.dimensions.split(",").length);
  }
  if (tensor.shape.length !== count) {
    throw new RangeError(
      `Cannot run ${expected.op} as ${tensor.name} must have shape (${expected.dimensions}): current shape is (${tensor.shape})`,
    );
  }
  return [...tensor.shape] as Sizes<Names>;
}
