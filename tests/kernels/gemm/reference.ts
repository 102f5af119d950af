/** Dense product from its definition, in FP64 and in plain float32. */

import type { Numbers } from "../../support/compare.ts";

export interface GemmSizes {
  M: number;
  N: number;
  K: number;
  transposeA?: boolean;
  transposeB?: boolean;
}

/** op(a) · op(b) + residual in FP64. */
export function gemm64(
  operands: { a: Numbers; b: Numbers; residual?: Numbers | null },
  sizes: GemmSizes,
): Float64Array {
  return product(operands, sizes, (value) => value);
}

/** The same with every operation rounded to float32: what a straightforward loop gives. */
export function gemm32(
  operands: { a: Numbers; b: Numbers; residual?: Numbers | null },
  sizes: GemmSizes,
): Float64Array {
  return product(operands, sizes, Math.fround);
}

function product(
  { a, b, residual }: { a: Numbers; b: Numbers; residual?: Numbers | null },
  { M, N, K, transposeA = false, transposeB = false }: GemmSizes,
  round: (value: number) => number,
): Float64Array {
  const c = new Float64Array(M * N);
  for (let m = 0; m < M; m++) {
    for (let n = 0; n < N; n++) {
      let sum = 0;
      for (let k = 0; k < K; k++) {
        const left = a[transposeA ? k * M + m : m * K + k]!;
        const right = b[transposeB ? n * K + k : k * N + n]!;
        sum = round(sum + round(left * right));
      }
      c[m * N + n] = residual ? round(sum + residual[m * N + n]!) : sum;
    }
  }
  return c;
}
