/**
 * Dense matrix product.
 *
 * @module
 */

import { activationCode } from "../tensor/dtype.ts";
import { expectTensor, type Tensor } from "../tensor/tensor.ts";
import { sizesOf } from "./operand.ts";

/** Operands of {@linkcode gemm}. */
export interface GemmOperands {
  /** (M, K), or (K, M) with `transposeA`; float32 or bfloat16. */
  a: Tensor;
  /** (K, N), or (N, K) with `transposeB`; of a's dtype. */
  b: Tensor;
  /** (M, N), of c's dtype; may be c itself, which then is added to. @default nothing is added */
  residual?: Tensor | null;
  /** (M, N), float32 or bfloat16; shares no memory with a or b. */
  c: Tensor;
  /** @default false */
  transposeA?: boolean;
  /** @default false */
  transposeB?: boolean;
}

/**
 * c = op(a) · op(b) + residual.
 *
 * Sums are float32, in the same order whatever the number of threads.
 *
 * Throws `RangeError` where shapes don't meet, `TypeError` for a wrong dtype, `NativeError` where the build can't compute it.
 */
export function gemm(operands: GemmOperands): void {
  const { a, b, residual = null, c, transposeA = false, transposeB = false } = operands;
  const op = "tb_gemm";
  const [M, N] = sizesOf(c, { op, dimensions: "M, N" });
  const [first, second] = sizesOf(a, { op, dimensions: transposeA ? "K, M" : "M, K" });
  const K = transposeA ? first : second;
  expectTensor(a, { op, shape: transposeA ? [K, M] : [M, K] });
  expectTensor(b, { op, dtype: a.dtype, shape: transposeB ? [N, K] : [K, N] });
  if (residual !== null) expectTensor(residual, { op, dtype: c.dtype, shape: [M, N] });
  const device = c.device;
  device.check(
    device.symbols.tb_gemm(
      device.context,
      activationCode(a.dtype),
      a.address,
      b.address,
      activationCode(c.dtype),
      residual?.address ?? 0n,
      c.address,
      BigInt(M),
      BigInt(N),
      BigInt(K),
      transposeA ? 1 : 0,
      transposeB ? 1 : 0,
    ),
    op,
  );
}
