/**
 * The choices of the fused norm ops, and their codes in `titanbit.h`.
 *
 * @module
 */

import { expectTensor, type Tensor } from "../tensor/tensor.ts";

/** Per-token activation quantiser: none, b1.58's absmax int8, or a4.8's absmean in the int4 range. */
export type QuantizerName = "none" | "absmax" | "absmean";

/** Non-linearity of a gated linear unit. */
export type GateName = "silu" | "relu2";

export const QUANTIZER_CODES: Record<QuantizerName, number> = { none: 0, absmax: 1, absmean: 2 };
export const GATE_CODES: Record<GateName, number> = { silu: 0, relu2: 1 };

/** Outputs of a norm op: integers with their scales, or the normalised values, or both. */
export interface NormOutputs {
  /** (N, D) int8; needed unless the quantiser is `none`. */
  q?: Tensor | null;
  /** (N) float32, n ~ q * scale; needed unless the quantiser is `none`. */
  scale?: Tensor | null;
  /** (N, D) activation dtype: the normalised values; needed where the quantiser is `none`. */
  y?: Tensor | null;
  /** (N) float32, kept for the backward pass. */
  rstd?: Tensor | null;
}

/** Throws `RangeError` or `TypeError` unless the outputs fit the quantiser and N rows of D. */
export function checkNormOutputs(
  outputs: NormOutputs,
  expected: { op: string; quantizer: QuantizerName; N: number; D: number; dtype: Tensor["dtype"] },
): void {
  const { op, quantizer, N, D, dtype } = expected;
  const needed = quantizer === "none" ? (["y"] as const) : (["q", "scale"] as const);
  for (const name of needed) {
    if (!outputs[name]) {
      throw new RangeError(`Cannot run ${op} as quantizer ${quantizer} needs the output ${name}`);
    }
  }
  if (outputs.q) expectTensor(outputs.q, { op, dtype: "int8", shape: [N, D] });
  if (outputs.scale) expectTensor(outputs.scale, { op, dtype: "float32", shape: [N] });
  if (outputs.y) expectTensor(outputs.y, { op, dtype, shape: [N, D] });
  if (outputs.rstd) expectTensor(outputs.rstd, { op, dtype: "float32", shape: [N] });
}
