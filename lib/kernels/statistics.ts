/**
 * Counts that tell how a ternary run is: over ternary matrices and over the quantised inputs of their products.
 *
 * @module
 */

import { expectTensor, type Tensor } from "../tensor/tensor.ts";
import { addressOf, expectOptional, sizesOf } from "./operand.ts";
import { QUANTIZER_CODES, type QuantizerName } from "./quantizer.ts";

/** Elements of `counts` of {@linkcode ternaryStatistics}: weights that are -1, 0, 1, flipped, near a threshold. */
export const TERNARY_COUNTS = 5;
/** Elements of `counts` of {@linkcode quantizedStatistics}: zeros, clipped. */
export const QUANTIZED_COUNTS = 2;

/** Operands of {@linkcode ternaryStatistics}. */
export interface TernaryStatisticsOperands {
  /** (rows, columns) float32 master weights. */
  w: Tensor;
  /** (rows, columns) int8: -1, 0 and 1. */
  q: Tensor;
  /** (rows, columns) int8 to count flips against; none are counted without. */
  previous?: Tensor | null;
  /** (rows) float32, the matrix's scale in every element. */
  scale: Tensor;
  /** Distance from a threshold, in units of the scale, up to which a weight is near it; 0 to 0.5. */
  margin: number;
  /** (5) int64, receives the numbers of -1, 0, 1, of flipped values and of weights near a threshold. */
  counts: Tensor;
}

/**
 * Counts over a ternary matrix. A weight is near a threshold where (0.5 - margin) scale <= |w| <= (0.5 + margin) scale, the
 * bounds in float32. Exact: the same counts whatever the build, the instruction set and the number of threads.
 *
 * Throws `RangeError` where shapes don't meet or the margin is outside its range, `TypeError` for a wrong dtype.
 */
export function ternaryStatistics(operands: TernaryStatisticsOperands): void {
  const { w, q, previous, scale, margin, counts } = operands;
  const op = "tb_ternary_statistics";
  const [rows, columns] = sizesOf(w, { op, dimensions: "N, K" });
  expectTensor(w, { op, dtype: "float32" });
  expectTensor(q, { op, dtype: "int8", shape: [rows, columns] });
  expectOptional(previous, { op, dtype: "int8", shape: [rows, columns] });
  expectTensor(scale, { op, dtype: "float32", shape: [rows] });
  expectTensor(counts, { op, dtype: "int64", shape: [TERNARY_COUNTS] });
  if (!(margin >= 0 && margin <= 0.5)) {
    throw new RangeError(
      `Cannot run ${op} as margin must be from 0 to 0.5: current value is ${margin}`,
    );
  }
  const device = q.device;
  device.check(
    device.symbols.tb_ternary_statistics(
      device.context,
      w.address,
      q.address,
      addressOf(previous),
      scale.address,
      margin,
      BigInt(rows),
      BigInt(columns),
      counts.address,
    ),
    op,
  );
}

/** Operands of {@linkcode quantizedStatistics}. */
export interface QuantizedStatisticsOperands {
  /** (N, D) int8. */
  q: Tensor;
  /** (N) float32. */
  scale: Tensor;
  /** What made q and scale; it knows the limits: -127 and 127 of `absmax`, -8 and 7 of `absmean`. */
  quantizer: Exclude<QuantizerName, "none">;
  /** (2) int64, receives the numbers of zeros and of values at a limit. */
  counts: Tensor;
  /** (2) float32, receives the mean and the maximum of `scale`; the maximum skips NaN. */
  scales: Tensor;
}

/**
 * Counts over a quantised input, exact in every build, and the mean and maximum of its scales, the mean summed in double in a fixed
 * order.
 *
 * Throws `RangeError` where shapes don't meet, `TypeError` for a wrong dtype.
 */
export function quantizedStatistics(operands: QuantizedStatisticsOperands): void {
  const { q, scale, quantizer, counts, scales } = operands;
  const op = "tb_quantized_statistics";
  const [N, D] = sizesOf(q, { op, dimensions: "N, D" });
  expectTensor(q, { op, dtype: "int8" });
  expectTensor(scale, { op, dtype: "float32", shape: [N] });
  expectTensor(counts, { op, dtype: "int64", shape: [QUANTIZED_COUNTS] });
  expectTensor(scales, { op, dtype: "float32", shape: [2] });
  const device = q.device;
  device.check(
    device.symbols.tb_quantized_statistics(
      device.context,
      QUANTIZER_CODES[quantizer],
      q.address,
      scale.address,
      BigInt(N),
      BigInt(D),
      counts.address,
      scales.address,
    ),
    op,
  );
}
