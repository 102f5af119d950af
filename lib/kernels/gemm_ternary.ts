/**
 * Product of quantised activations with ternary weights, and its two gradients.
 *
 * M tokens, N outputs, K inputs. Activations are int8 with one scale a token, weights {-1, 0, 1} with one scale an output
 * (matrices stacked into one product keep their own).
 *
 * @module
 */

import { activationCode } from "../tensor/dtype.ts";
import { expectTensor, type Tensor } from "../tensor/tensor.ts";
import { packedWidth } from "./pack_ternary.ts";
import { sizesOf } from "./operand.ts";

/** Operands of {@linkcode gemmTernaryForward}. */
export interface GemmTernaryForwardOperands {
  /** (M, K) int8. */
  x: Tensor;
  /** (M) float32. */
  xScale: Tensor;
  /** (N, K) int8 of -1, 0 and 1. */
  w: Tensor;
  /** (N) float32. */
  wScale: Tensor;
  /** (M, N) of y's dtype; may be y itself. @default nothing is added */
  residual?: Tensor | null;
  /** (M, N) float32 or bfloat16. */
  y: Tensor;
}

/** Operands of {@linkcode gemmTernaryPackedForward}. */
export interface GemmTernaryPackedForwardOperands extends Omit<GemmTernaryForwardOperands, "w"> {
  /** (N, ceil(K / 16)) int32, as `packTernary` writes it. */
  packed: Tensor;
}

/** Operands of {@linkcode gemmTernaryBackwardInput}. */
export interface GemmTernaryBackwardInputOperands {
  /** (M, N) float32 or bfloat16. */
  dy: Tensor;
  /** (N, K) int8 of -1, 0 and 1. */
  w: Tensor;
  /** (N) float32. */
  wScale: Tensor;
  /** (M, K) of dy's dtype. */
  dx: Tensor;
  /** Add to dx instead of overwriting it. @default false */
  accumulate?: boolean;
}

/** Operands of {@linkcode gemmTernaryBackwardWeight}. */
export interface GemmTernaryBackwardWeightOperands {
  /** (M, N) float32 or bfloat16. */
  dy: Tensor;
  /** (M, K) int8. */
  x: Tensor;
  /** (M) float32. */
  xScale: Tensor;
  /** (N, K) float32, or bfloat16 where dy is: sums stay float32 and are rounded once. */
  dw: Tensor;
  /** Add to dw instead of overwriting it. @default false */
  accumulate?: boolean;
}

/**
 * y = (x · wᵀ) · xScale · wScale + residual.
 *
 * The integer product is exact; the epilogue is float32 in one fixed order, so every instruction set gives the same bits.
 *
 * Throws `RangeError` where shapes don't meet, `TypeError` for a wrong dtype, `NativeError` where the build can't compute it.
 */
export function gemmTernaryForward(operands: GemmTernaryForwardOperands): void {
  const { x, xScale, w, wScale, residual = null, y } = operands;
  const op = "tb_gemm_ternary_forward";
  const [M, K] = sizesOf(x, { op, dimensions: "M, K" });
  const [N] = sizesOf(w, { op, dimensions: "N, K" });
  checkForward(operands, { op, M, N });
  expectTensor(w, { op, dtype: "int8", shape: [N, K] });
  const device = y.device;
  device.check(
    device.symbols.tb_gemm_ternary_forward(
      device.context,
      x.address,
      xScale.address,
      w.address,
      wScale.address,
      activationCode(y.dtype),
      residual?.address ?? 0n,
      y.address,
      BigInt(M),
      BigInt(N),
      BigInt(K),
    ),
    op,
  );
}

/** {@linkcode gemmTernaryForward} from 2-bit weights: the same result to the last bit, a quarter of the weights' traffic. */
export function gemmTernaryPackedForward(operands: GemmTernaryPackedForwardOperands): void {
  const { x, xScale, packed, wScale, residual = null, y } = operands;
  const op = "tb_gemm_ternary_packed_forward";
  const [M, K] = sizesOf(x, { op, dimensions: "M, K" });
  const [N] = sizesOf(packed, { op, dimensions: "N, ceil(K / 16)" });
  checkForward(operands, { op, M, N });
  expectTensor(packed, { op, dtype: "int32", shape: [N, packedWidth(K)] });
  const device = y.device;
  device.check(
    device.symbols.tb_gemm_ternary_packed_forward(
      device.context,
      x.address,
      xScale.address,
      packed.address,
      wScale.address,
      activationCode(y.dtype),
      residual?.address ?? 0n,
      y.address,
      BigInt(M),
      BigInt(N),
      BigInt(K),
    ),
    op,
  );
}

/**
 * dx = dy · (wScale · w), the gradient of the quantised activations, which passes their quantiser unchanged.
 *
 * Throws as {@linkcode gemmTernaryForward}.
 */
export function gemmTernaryBackwardInput(operands: GemmTernaryBackwardInputOperands): void {
  const { dy, w, wScale, dx, accumulate = false } = operands;
  const op = "tb_gemm_ternary_backward_input";
  const [M, N] = sizesOf(dy, { op, dimensions: "M, N" });
  const [, K] = sizesOf(w, { op, dimensions: "N, K" });
  expectTensor(w, { op, dtype: "int8", shape: [N, K] });
  expectTensor(wScale, { op, dtype: "float32", shape: [N] });
  expectTensor(dx, { op, dtype: dy.dtype, shape: [M, K] });
  const device = dx.device;
  device.check(
    device.symbols.tb_gemm_ternary_backward_input(
      device.context,
      activationCode(dy.dtype),
      dy.address,
      w.address,
      wScale.address,
      dx.address,
      BigInt(M),
      BigInt(N),
      BigInt(K),
      accumulate ? 1 : 0,
    ),
    op,
  );
}

/**
 * dw = dyᵀ · (xScale · x), the gradient of the master weights, which passes their quantiser unchanged.
 *
 * Throws as {@linkcode gemmTernaryForward}.
 */
export function gemmTernaryBackwardWeight(operands: GemmTernaryBackwardWeightOperands): void {
  const { dy, x, xScale, dw, accumulate = false } = operands;
  const op = "tb_gemm_ternary_backward_weight";
  const [M, N] = sizesOf(dy, { op, dimensions: "M, N" });
  const [, K] = sizesOf(x, { op, dimensions: "M, K" });
  expectTensor(x, { op, dtype: "int8", shape: [M, K] });
  expectTensor(xScale, { op, dtype: "float32", shape: [M] });
  expectTensor(dw, { op, shape: [N, K] });
  const device = dw.device;
  device.check(
    device.symbols.tb_gemm_ternary_backward_weight(
      device.context,
      activationCode(dy.dtype),
      dy.address,
      x.address,
      xScale.address,
      activationCode(dw.dtype),
      dw.address,
      BigInt(M),
      BigInt(N),
      BigInt(K),
      accumulate ? 1 : 0,
    ),
    op,
  );
}

function checkForward(
  operands: Omit<GemmTernaryForwardOperands, "w">,
  { op, M, N }: { op: string; M: number; N: number },
): void {
  const { x, xScale, wScale, residual, y } = operands;
  expectTensor(x, { op, dtype: "int8" });
  expectTensor(xScale, { op, dtype: "float32", shape: [M] });
  expectTensor(wScale, { op, dtype: "float32", shape: [N] });
  expectTensor(y, { op, shape: [M, N] });
  if (residual) expectTensor(residual, { op, dtype: y.dtype, shape: [M, N] });
}
