/**
 * Gated linear unit fused with its RMSNorm and the per-token activation quantiser.
 *
 * @module
 */

import { activationCode } from "../tensor/dtype.ts";
import { expectTensor, type Tensor } from "../tensor/tensor.ts";
import { addressOf, sizesOf } from "./operand.ts";
import {
  checkNormOutputs,
  GATE_CODES,
  type GateName,
  type NormOutputs,
  QUANTIZER_CODES,
  type QuantizerName,
} from "./quantizer.ts";

/** Operands of {@linkcode gluNormForward}: N rows, D of the outputs is F. */
export interface GluNormForwardOperands extends NormOutputs {
  /** (N, 2F) float32 or bfloat16: gate, then up. */
  gateUp: Tensor;
  act: GateName;
  /** (F) float32. */
  weight: Tensor;
  eps: number;
  quantizer: QuantizerName;
}

/** Operands of {@linkcode gluNormBackward}: N rows; `dy`, `gateUp` and `dgateUp` share their dtype. */
export interface GluNormBackwardOperands {
  /** (N, F): gradient of the normalised values. */
  dy: Tensor;
  /** (N, 2F): the forward pass's. */
  gateUp: Tensor;
  act: GateName;
  /** (F) float32. */
  weight: Tensor;
  /** (N) float32: the forward pass's. */
  rstd: Tensor;
  /** (N, 2F): overwritten; not `gateUp`. */
  dgateUp: Tensor;
  /** (F) float32: added to. */
  dweight: Tensor;
}

/**
 * h = act(gate) * up for each row of `gateUp` (N, 2F) = [gate | up], then RMSNorm over F with `weight` (F) float32 and the
 * quantiser, as `rmsnormForward` does. h itself is not kept.
 */
export function gluNormForward(operands: GluNormForwardOperands): void {
  const op = "tb_glu_norm_forward";
  const { gateUp, act, weight, eps, quantizer, q, scale, y, rstd } = operands;
  const [F] = sizesOf(weight, { op, dimensions: "F" });
  const [N] = sizesOf(gateUp, { op, dimensions: "N, 2F" });
  expectTensor(gateUp, { op, shape: [N, 2 * F] });
  expectTensor(weight, { op, dtype: "float32" });
  checkNormOutputs(operands, { op, quantizer, N, D: F, dtype: gateUp.dtype });
  const device = gateUp.device;
  device.check(
    device.symbols.tb_glu_norm_forward(
      device.context,
      activationCode(gateUp.dtype),
      gateUp.address,
      GATE_CODES[act],
      weight.address,
      eps,
      QUANTIZER_CODES[quantizer],
      addressOf(q),
      addressOf(scale),
      addressOf(y),
      addressOf(rstd),
      BigInt(N),
      BigInt(F),
    ),
    op,
  );
}

/**
 * Gradients of the gated norm: `dy` (N, F) gives `dgateUp` (N, 2F), which must not be `gateUp`; `dweight` (F) float32 is
 * added to. `rstd` (N) is the forward pass's.
 */
export function gluNormBackward(operands: GluNormBackwardOperands): void {
  const op = "tb_glu_norm_backward";
  const { dy, gateUp, act, weight, rstd, dgateUp, dweight } = operands;
  const [N, F] = sizesOf(dy, { op, dimensions: "N, F" });
  const dtype = gateUp.dtype;
  expectTensor(dy, { op, dtype });
  expectTensor(gateUp, { op, shape: [N, 2 * F] });
  expectTensor(weight, { op, dtype: "float32", shape: [F] });
  expectTensor(rstd, { op, dtype: "float32", shape: [N] });
  expectTensor(dgateUp, { op, dtype, shape: [N, 2 * F] });
  expectTensor(dweight, { op, dtype: "float32", shape: [F] });
  const device = gateUp.device;
  device.check(
    device.symbols.tb_glu_norm_backward(
      device.context,
      activationCode(dtype),
      dy.address,
      gateUp.address,
      GATE_CODES[act],
      weight.address,
      rstd.address,
      dgateUp.address,
      dweight.address,
      BigInt(N),
      BigInt(F),
    ),
    op,
  );
}
