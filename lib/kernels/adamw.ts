/**
 * The AdamW update of one parameter group.
 *
 * @module
 */

import { expectTensor, type Tensor } from "../tensor/tensor.ts";

/** What `hyper` (8) float32 holds, in order; beta1^t and beta2^t are powers of the step's number from 1. */
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

/**
 * Updates weights `w`, and moments `m` and `v`, from gradients `g`, all of the same shape, float32, in place.
 *
 * Gradients are multiplied by min(1, max_grad_norm / `gradNorm` (1)). A `gradNorm` that is not finite leaves everything
 * untouched. `hyper` (8): see {@linkcode ADAMW_HYPER}.
 */
export function adamw(
  operands: { w: Tensor; g: Tensor; m: Tensor; v: Tensor; hyper: Tensor; gradNorm: Tensor },
): void {
  const op = "tb_adamw";
  const { w, g, m, v, hyper, gradNorm } = operands;
  expectTensor(w, { op, dtype: "float32" });
  for (const tensor of [g, m, v]) expectTensor(tensor, { op, dtype: "float32", shape: w.shape });
  expectTensor(hyper, { op, dtype: "float32", shape: [ADAMW_HYPER.length] });
  expectTensor(gradNorm, { op, dtype: "float32", shape: [1] });
  const device = w.device;
  device.check(
    device.symbols.tb_adamw(
      device.context,
      w.address,
      g.address,
      m.address,
      v.address,
      hyper.address,
      gradNorm.address,
      BigInt(w.length),
    ),
    op,
  );
}
