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

/**
 * The sizes of a tensor with this many dimensions. Throws `RangeError` naming the op, the tensor and its shape where it has
 * another number of them.
 */
export function sizesOf(
  tensor: Tensor,
  expected: { op: string; dimensions: string },
): number[] {
  const count = expected.dimensions.split(",").length;
  if (tensor.shape.length !== count) {
    throw new RangeError(
      `Cannot run ${expected.op} as ${tensor.name} must have shape (${expected.dimensions}): current shape is (${tensor.shape})`,
    );
  }
  return [...tensor.shape];
}
