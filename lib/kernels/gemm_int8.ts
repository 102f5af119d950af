/**
 * Dense product with int8 weights, for the head of a finished model.
 *
 * @module
 */

import { activationCode } from "../tensor/dtype.ts";
import { expectTensor, type Tensor } from "../tensor/tensor.ts";
import { sizesOf } from "./operand.ts";

/** Operands of {@linkcode gemmInt8}. */
export interface GemmInt8Operands {
  /** (M, K) float32 or bfloat16, quantised row by row on the way. */
  x: Tensor;
  /** (N, K) int8. */
  w: Tensor;
  /** (N) float32. */
  wScale: Tensor;
  /** (M, N) float32. */
  y: Tensor;
}

/**
 * y = (Q(x) · wᵀ) · s_x · wScale, Q and s_x being the absmax quantiser of the norms.
 *
 * The integer product is exact and every rounding has its place: the same bits in both builds.
 *
 * Throws `RangeError` where shapes don't meet, `TypeError` for a wrong dtype, `NativeError` where K is above 32768 or the build
 * can't compute it.
 */
export function gemmInt8({ x, w, wScale, y }: GemmInt8Operands): void {
  const op = "tb_gemm_int8";
  const [M, K] = sizesOf(x, { op, dimensions: "M, K" });
  const [N] = sizesOf(w, { op, dimensions: "N, K" });
  expectTensor(w, { op, dtype: "int8", shape: [N, K] });
  expectTensor(wScale, { op, dtype: "float32", shape: [N] });
  expectTensor(y, { op, dtype: "float32", shape: [M, N] });
  const device = y.device;
  device.check(
    device.symbols.tb_gemm_int8(
      device.context,
      activationCode(x.dtype),
      x.address,
      w.address,
      wScale.address,
      y.address,
      BigInt(M),
      BigInt(N),
      BigInt(K),
    ),
    op,
  );
}
