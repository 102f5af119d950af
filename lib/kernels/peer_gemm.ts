/**
 * The yardstick of benchmarks: the same product by NVIDIA's cuBLASLt. Nothing in a model calls it.
 *
 * @module
 */

import type { Device } from "../ffi/device.ts";
import { NativeError } from "../ffi/errors.ts";
import type { DType } from "../tensor/dtype.ts";
import { expectTensor, type Tensor } from "../tensor/tensor.ts";
import { sizesOf } from "./operand.ts";

/** What cuBLASLt multiplies. */
export type PeerKind = "bf16" | "fp16" | "fp8" | "int8";

/** The code of each kind in `titanbit.h`, the dtype of a and b, and that of c; FP8 operands are codes of e4m3. */
export const PEER_KINDS: Readonly<
  Record<PeerKind, { readonly code: number; readonly operands: DType; readonly result: DType }>
> = {
  bf16: { code: 0, operands: "bfloat16", result: "bfloat16" },
  fp16: { code: 1, operands: "float16", result: "float16" },
  fp8: { code: 2, operands: "uint8", result: "bfloat16" },
  int8: { code: 3, operands: "int8", result: "int32" },
};

/** Operands of {@linkcode peerGemm}, aligned to 256 bytes; dtypes by {@linkcode PEER_KINDS}. */
export interface PeerGemmOperands {
  kind: PeerKind;
  /** Which of the {@linkcode countPeerAlgorithms}. @default 0, cuBLASLt's favourite */
  algorithm?: number;
  /** (M, K). */
  a: Tensor;
  /** (N, K). */
  b: Tensor;
  /** (M, N). */
  c: Tensor;
}

/** How many algorithms cuBLASLt offers for a product; 0 where the library, the build or the card has none of this kind. */
export function countPeerAlgorithms(
  device: Device,
  { kind, M, N, K }: { kind: PeerKind; M: number; N: number; K: number },
): number {
  const count = new Int32Array(1);
  const status = device.symbols.tb_peer_algorithms(
    device.context,
    PEER_KINDS[kind].code,
    BigInt(M),
    BigInt(N),
    BigInt(K),
    count,
  );
  try {
    device.check(status, "tb_peer_algorithms");
  } catch (error) {
    if (error instanceof NativeError && error.status === "unsupported") return 0;
    throw error;
  }
  return count[0]!;
}

/**
 * c = a · bᵀ. Sums are float32 (int8: int32), FP8's with fast accumulation; a result may have other bits in another run.
 *
 * Throws `RangeError` where shapes don't meet, `TypeError` for a wrong dtype, `NativeError` where there is no such product.
 */
export function peerGemm({ kind, algorithm = 0, a, b, c }: PeerGemmOperands): void {
  const op = "tb_peer_gemm";
  const { code, operands, result } = PEER_KINDS[kind];
  const [M, K] = sizesOf(a, { op, dimensions: "M, K" });
  const [N] = sizesOf(b, { op, dimensions: "N, K" });
  expectTensor(a, { op, dtype: operands });
  expectTensor(b, { op, dtype: operands, shape: [N, K] });
  expectTensor(c, { op, dtype: result, shape: [M, N] });
  const device = c.device;
  device.check(
    device.symbols.tb_peer_gemm(
      device.context,
      code,
      algorithm,
      a.address,
      b.address,
      c.address,
      BigInt(M),
      BigInt(N),
      BigInt(K),
    ),
    op,
  );
}
