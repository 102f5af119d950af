/**
 * Shape of an operand that has to be a matrix.
 *
 * @module
 */

import type { Tensor } from "../tensor/tensor.ts";

/** Rows and columns of a tensor. Throws `RangeError` naming the op and the tensor unless it has two dimensions. */
export function matrixShape(tensor: Tensor, op: string): readonly [rows: number, columns: number] {
  const [rows, columns] = tensor.shape;
  if (rows === undefined || columns === undefined || tensor.shape.length !== 2) {
    throw new RangeError(
      `Cannot run ${op} as ${tensor.name} must be a matrix (rows, columns): current shape is (${tensor.shape})`,
    );
  }
  return [rows, columns];
}
