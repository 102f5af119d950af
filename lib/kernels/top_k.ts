/**
 * The largest logits, in order.
 *
 * @module
 */

import { expectTensor, type Tensor } from "../tensor/tensor.ts";
import { sizesOf } from "./operand.ts";

/** How many logits of a row {@linkcode topK} gives at most. */
export const MOST_TOP_K = 256;

/**
 * `values` (N, k) float32 and `ids` (N, k) int32 receive the k largest of the first `vocabSize` of each row of `logits` (N, V)
 * float32, largest first: of equal ones the lower id, NaN before every number. @default vocabSize V
 *
 * Throws `RangeError` where shapes don't meet, `NativeError` where k is above {@linkcode MOST_TOP_K} or `vocabSize`.
 */
export function topK(
  operands: { logits: Tensor; vocabSize?: number; values: Tensor; ids: Tensor },
): void {
  const op = "tb_top_k";
  const { logits, values, ids } = operands;
  const [N, stride] = sizesOf(logits, { op, dimensions: "N, V" });
  const [, k] = sizesOf(values, { op, dimensions: "N, k" });
  const vocabSize = operands.vocabSize ?? stride;
  expectTensor(logits, { op, dtype: "float32" });
  expectTensor(values, { op, dtype: "float32", shape: [N, k] });
  expectTensor(ids, { op, dtype: "int32", shape: [N, k] });
  const device = logits.device;
  device.check(
    device.symbols.tb_top_k(
      device.context,
      logits.address,
      values.address,
      ids.address,
      BigInt(N),
      BigInt(vocabSize),
      BigInt(stride),
      BigInt(k),
    ),
    op,
  );
}
