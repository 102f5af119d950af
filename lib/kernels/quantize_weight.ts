/**
 * Ternary weights from master weights.
 *
 * @module
 */

import { expectTensor, type Tensor } from "../tensor/tensor.ts";
import { sizesOf } from "./operand.ts";

/** Operands of {@linkcode quantizeWeight}. */
export interface QuantizeWeightOperands {
  /** (rows, columns) float32 master weights. */
  w: Tensor;
  /** (rows, columns) int8, receives -1, 0 and 1. */
  q: Tensor;
  /** (rows) float32, receives the matrix's scale in every element. */
  scale: Tensor;
}

/**
 * scale = max(mean|w|, 1e-5) over the whole matrix, q = clamp(round(w / scale), -1, 1), half to even (arXiv:2402.17764).
 *
 * The mean is summed in double in a fixed order: the same bits whatever the number of threads and the instruction set. A NaN in
 * w makes the scale NaN and q zero, so that it shows in whatever is computed from them.
 *
 * Throws `RangeError` where shapes don't meet, `TypeError` for a wrong dtype.
 */
export function quantizeWeight(operands: QuantizeWeightOperands): void {
  const { w, q, scale } = operands;
  const op = "tb_quantize_weight";
  const [rows, columns] = sizesOf(w, { op, dimensions: "N, K" });
  expectTensor(w, { op, dtype: "float32" });
  expectTensor(q, { op, dtype: "int8", shape: [rows, columns] });
  expectTensor(scale, { op, dtype: "float32", shape: [rows] });
  const device = q.device;
  device.check(
    device.symbols.tb_quantize_weight(
      device.context,
      w.address,
      q.address,
      scale.address,
      BigInt(rows),
      BigInt(columns),
    ),
    op,
  );
}
