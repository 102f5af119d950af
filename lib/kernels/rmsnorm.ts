/**
 * RMSNorm fused with the per-token activation quantiser.
 *
 * @module
 */

import { activationCode } from "../tensor/dtype.ts";
import { expectTensor, type Tensor } from "../tensor/tensor.ts";
import { addressOf, sizesOf } from "./operand.ts";
import {
  checkNormOutputs,
  type NormOutputs,
  QUANTIZER_CODES,
  type QuantizerName,
} from "./quantizer.ts";

/** Operands of {@linkcode rmsnormForward}: N rows of D. */
export interface RmsnormForwardOperands extends NormOutputs {
  /** (N, D) float32 or bfloat16. */
  x: Tensor;
  /** (D) float32. */
  weight: Tensor;
  eps: number;
  quantizer: QuantizerName;
}

/** Operands of {@linkcode rmsnormBackward}: N rows of D; `dy`, `x` and `dx` are float32 or bfloat16, each as it likes. */
export interface RmsnormBackwardOperands {
  /** (N, D): gradient of the normalised values. */
  dy: Tensor;
  /** (N, D): the forward pass's. */
  x: Tensor;
  /** (D) float32. */
  weight: Tensor;
  /** (N) float32: the forward pass's. */
  rstd: Tensor;
  /** (N, D): overwritten, or added to with `accumulate`. */
  dx: Tensor;
  /** (D) float32: added to. */
  dweight: Tensor;
  /** @default false */
  accumulate?: boolean;
}

/**
 * n = x * rsqrt(mean(x²) + eps) * weight for each row of `x` (N, D), `weight` (D) float32.
 *
 * With a quantiser, `q` (N, D) int8 and `scale` (N) float32 receive n ~ q * scale, and `y` n itself where it is given;
 * without one, `y` (N, D) receives n.
 */
export function rmsnormForward(operands: RmsnormForwardOperands): void {
  const op = "tb_rmsnorm_forward";
  const { x, weight, eps, quantizer, q, scale, y, rstd } = operands;
  const [N, D] = sizesOf(x, { op, dimensions: "N, D" });
  expectTensor(weight, { op, dtype: "float32", shape: [D] });
  checkNormOutputs(operands, { op, quantizer, N, D, dtype: y?.dtype ?? x.dtype });
  const device = x.device;
  device.check(
    device.symbols.tb_rmsnorm_forward(
      device.context,
      activationCode(x.dtype),
      x.address,
      weight.address,
      eps,
      QUANTIZER_CODES[quantizer],
      addressOf(q),
      addressOf(scale),
      activationCode(y?.dtype ?? x.dtype),
      addressOf(y),
      addressOf(rstd),
      BigInt(N),
      BigInt(D),
    ),
    op,
  );
}

/**
 * Gradients of the norm; the quantiser passes them unchanged (straight-through).
 *
 * `dy` (N, D), `x` (N, D), `weight` (D) and `rstd` (N) of the forward pass give `dx` (N, D), which is overwritten, or added
 * to with `accumulate`. `dweight` (D) float32 is added to. `dy`, `x` and `dx` have an activation dtype each.
 */
export function rmsnormBackward(operands: RmsnormBackwardOperands): void {
  const op = "tb_rmsnorm_backward";
  const { dy, x, weight, rstd, dx, dweight, accumulate } = operands;
  const [N, D] = sizesOf(x, { op, dimensions: "N, D" });
  expectTensor(dy, { op, shape: [N, D] });
  expectTensor(weight, { op, dtype: "float32", shape: [D] });
  expectTensor(rstd, { op, dtype: "float32", shape: [N] });
  expectTensor(dx, { op, shape: [N, D] });
  expectTensor(dweight, { op, dtype: "float32", shape: [D] });
  const device = x.device;
  device.check(
    device.symbols.tb_rmsnorm_backward(
      device.context,
      activationCode(dy.dtype),
      dy.address,
      activationCode(x.dtype),
      x.address,
      weight.address,
      rstd.address,
      activationCode(dx.dtype),
      dx.address,
      dweight.address,
      BigInt(N),
      BigInt(D),
      accumulate ? 1 : 0,
    ),
    op,
  );
}
