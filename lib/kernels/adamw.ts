/**
 * The AdamW update of one parameter group.
 *
 * @module
 */

import { activationCode, type DType } from "../tensor/dtype.ts";
import { expectTensor, type Tensor } from "../tensor/tensor.ts";
import { addressOf } from "./operand.ts";

/** What `hyper` (8) float32 holds, in order; beta1^t and beta2^t are powers of the update's number from 1. */
export const ADAMW_HYPER = [
  "lr",
  "beta1",
  "beta2",
  "eps",
  "weight_decay",
  "1 - beta1^t",
  "1 - beta2^t",
  "max_grad_norm, 0 for no clipping",
] as const;

/** Elements that share a scale where moments are 8-bit codes. */
export const ADAMW_BLOCK = 256;

/** Operands of {@linkcode adamw}; all of w's shape where nothing else is said. */
export interface AdamwOperands {
  /** float32. */
  w: Tensor;
  /** Gradient, float32 or bfloat16. */
  g: Tensor;
  /** First moment: float32, bfloat16, or uint8 codes. */
  m: Tensor;
  /** Second moment, of m's dtype. */
  v: Tensor;
  /** (ceil(n / 256)) float32, what m's codes are shares of. @default none, where moments are no codes */
  mAbsmax?: Tensor | null;
  /** (ceil(n / 256)) float32, what v's codes are shares of. @default none, where moments are no codes */
  vAbsmax?: Tensor | null;
  /** (8) float32, see {@linkcode ADAMW_HYPER}. */
  hyper: Tensor;
  /** (1) float32. */
  gradNorm: Tensor;
  /** (1) int32, the update's number, which bfloat16 moments are rounded by. @default none, for other moments */
  updates?: Tensor | null;
}

/**
 * Begins an update: where `gradNorm` (1) is finite, `updates` (1) int32 grows by 1; then both bias corrections of every row of
 * `hyper` (groups, 8) are written for the number that `updates` holds, at least 1.
 */
export function adamwBegin(operands: { gradNorm: Tensor; updates: Tensor; hyper: Tensor }): void {
  const op = "tb_adamw_begin";
  const { gradNorm, updates, hyper } = operands;
  const [groups = 0] = hyper.shape;
  expectTensor(gradNorm, { op, dtype: "float32", shape: [1] });
  expectTensor(updates, { op, dtype: "int32", shape: [1] });
  expectTensor(hyper, { op, dtype: "float32", shape: [groups, ADAMW_HYPER.length] });
  const device = hyper.device;
  device.check(
    device.symbols.tb_adamw_begin(
      device.context,
      gradNorm.address,
      updates.address,
      hyper.address,
      BigInt(groups),
    ),
    op,
  );
}

/**
 * Updates weights `w`, and moments `m` and `v`, from gradients `g`, in place; computed in float32 whatever their dtypes.
 *
 * Gradients are multiplied by min(1, max_grad_norm / `gradNorm` (1)). A `gradNorm` that is not finite leaves everything
 * untouched.
 */
export function adamw(operands: AdamwOperands): void {
  const op = "tb_adamw";
  const { w, g, m, v, mAbsmax, vAbsmax, hyper, gradNorm, updates } = operands;
  const state = stateCode(m.dtype);
  expectTensor(w, { op, dtype: "float32" });
  for (const tensor of [g, m]) expectTensor(tensor, { op, shape: w.shape });
  expectTensor(v, { op, dtype: m.dtype, shape: w.shape });
  const blocks = Math.ceil(w.length / ADAMW_BLOCK);
  for (const absmax of [mAbsmax, vAbsmax]) {
    if (absmax) expectTensor(absmax, { op, dtype: "float32", shape: [blocks] });
  }
  expectTensor(hyper, { op, dtype: "float32", shape: [ADAMW_HYPER.length] });
  expectTensor(gradNorm, { op, dtype: "float32", shape: [1] });
  if (updates) expectTensor(updates, { op, dtype: "int32", shape: [1] });
  const device = w.device;
  device.check(
    device.symbols.tb_adamw(
      device.context,
      w.address,
      activationCode(g.dtype),
      g.address,
      state,
      m.address,
      v.address,
      addressOf(mAbsmax),
      addressOf(vAbsmax),
      hyper.address,
      gradNorm.address,
      addressOf(updates),
      BigInt(w.length),
    ),
    op,
  );
}

/** The code of a moment's dtype in `titanbit.h`. */
function stateCode(dtype: DType): number {
  if (dtype === "float32") return 0;
  if (dtype === "bfloat16") return 1;
  if (dtype === "uint8") return 2;
  throw new TypeError(
    `Cannot keep AdamW's moments as ${dtype} as they must be float32, bfloat16 or uint8 codes`,
  );
}
