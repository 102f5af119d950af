/**
 * A norm, its quantiser and a product with 2-bit weights as one op, for decoding: where a kernel takes its launch, one is less than two.
 *
 * M tokens, N outputs, K inputs.
 *
 * @module
 */

import { activationCode } from "../tensor/dtype.ts";
import { expectTensor, type Tensor } from "../tensor/tensor.ts";
import { addressOf, expectOptional, sizesOf } from "./operand.ts";
import { packedWidth } from "./pack_ternary.ts";
import { GATE_CODES, type GateName, QUANTIZER_CODES, type QuantizerName } from "./quantizer.ts";

/** Operands that both ops share. */
export interface NormedTernaryOperands {
  /** (K) float32: the norm's. */
  normWeight: Tensor;
  eps: number;
  quantizer: Exclude<QuantizerName, "none">;
  /** (M, K) int8 and (M) float32: room for the quantised rows, of which nothing can be said afterwards. */
  q: Tensor;
  scale: Tensor;
  /** (N, ceil(K / 16)) int32, as `packTernary` writes it. */
  packed: Tensor;
  /** (N) float32. */
  wScale: Tensor;
  /** (M, N) of y's dtype; may be y itself. @default nothing is added */
  residual?: Tensor | null;
  /** (M, N) float32 or bfloat16; not what is normalised. */
  y: Tensor;
}

/**
 * y = Q(norm(x)) · wᵀ + residual of x (M, K): to the last bit what `rmsnormForward` and then `gemmTernaryPackedForward` give.
 *
 * Throws `RangeError` where shapes don't meet, `TypeError` for a wrong dtype, `NativeError` where the build can't compute it.
 */
export function rmsnormGemmTernaryForward(operands: NormedTernaryOperands & { x: Tensor }): void {
  const op = "tb_rmsnorm_gemm_ternary_forward";
  const { x, normWeight, eps, quantizer, q, scale, packed, wScale, residual, y } = operands;
  const { M, N, K } = checkedSizes(operands, op);
  expectTensor(x, { op, shape: [M, K] });
  const device = y.device;
  device.check(
    device.symbols.tb_rmsnorm_gemm_ternary_forward(
      device.context,
      activationCode(x.dtype),
      x.address,
      normWeight.address,
      eps,
      QUANTIZER_CODES[quantizer],
      q.address,
      scale.address,
      packed.address,
      wScale.address,
      activationCode(y.dtype),
      addressOf(residual),
      y.address,
      BigInt(M),
      BigInt(N),
      BigInt(K),
    ),
    op,
  );
}

/**
 * The same of h = act(gate) * up, from gateUp (M, 2K) = [gate | up]: as `gluNormForward` and then `gemmTernaryPackedForward`.
 *
 * Throws as {@linkcode rmsnormGemmTernaryForward}.
 */
export function gluNormGemmTernaryForward(
  operands: NormedTernaryOperands & { gateUp: Tensor; act: GateName },
): void {
  const op = "tb_glu_norm_gemm_ternary_forward";
  const { gateUp, act, normWeight, eps, quantizer, q, scale, packed, wScale, residual, y } =
    operands;
  const { M, N, K } = checkedSizes(operands, op);
  expectTensor(gateUp, { op, shape: [M, 2 * K] });
  const device = y.device;
  device.check(
    device.symbols.tb_glu_norm_gemm_ternary_forward(
      device.context,
      activationCode(gateUp.dtype),
      gateUp.address,
      GATE_CODES[act],
      normWeight.address,
      eps,
      QUANTIZER_CODES[quantizer],
      q.address,
      scale.address,
      packed.address,
      wScale.address,
      activationCode(y.dtype),
      addressOf(residual),
      y.address,
      BigInt(M),
      BigInt(N),
      BigInt(K),
    ),
    op,
  );
}

function checkedSizes(
  operands: NormedTernaryOperands,
  op: string,
): { M: number; N: number; K: number } {
  const { normWeight, q, scale, packed, wScale, residual, y } = operands;
  const [M, K] = sizesOf(q, { op, dimensions: "M, K" }) as [number, number];
  const [, N] = sizesOf(y, { op, dimensions: "M, N" }) as [number, number];
  expectTensor(normWeight, { op, dtype: "float32", shape: [K] });
  expectTensor(q, { op, dtype: "int8" });
  expectTensor(scale, { op, dtype: "float32", shape: [M] });
  expectTensor(packed, { op, dtype: "int32", shape: [N, packedWidth(K)] });
  expectTensor(wScale, { op, dtype: "float32", shape: [N] });
  expectTensor(y, { op, shape: [M, N] });
  expectOptional(residual, { op, dtype: y.dtype, shape: [M, N] });
  return { M, N, K };
}
