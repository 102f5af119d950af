/** The ternary product and its gradients from their definitions. */

import type { Numbers } from "../../support/compare.ts";

export interface Sizes {
  M: number;
  N: number;
  K: number;
}

export interface ForwardInputs {
  x: Int8Array<ArrayBuffer>;
  xScale: Float32Array<ArrayBuffer>;
  w: Int8Array<ArrayBuffer>;
  wScale: Float32Array<ArrayBuffer>;
  residual?: Float32Array<ArrayBuffer> | null;
}

/**
 * The bits that every build has to give: the exact integer sum, then float32(sum) times the rounded product of the scales,
 * rounded, then plus the residual, rounded. Doubles hold each of these results before its rounding, or round it innocuously.
 */
export function forwardBits(inputs: ForwardInputs, { M, N, K }: Sizes): Float32Array<ArrayBuffer> {
  const { x, xScale, w, wScale, residual } = inputs;
  const y = new Float32Array(M * N);
  for (let m = 0; m < M; m++) {
    for (let n = 0; n < N; n++) {
      let sum = 0;
      for (let k = 0; k < K; k++) sum += x[m * K + k]! * w[n * K + k]!;
      const scaled = Math.fround(Math.fround(sum) * Math.fround(xScale[m]! * wScale[n]!));
      y[m * N + n] = residual ? Math.fround(scaled + residual[m * N + n]!) : scaled;
    }
  }
  return y;
}

/** y = (xScale x) · (wScale w)ᵀ of dequantised operands, xReal (M, K) and wReal (N, K), in FP64. */
export function forward64(
  { xReal, wReal }: { xReal: Numbers; wReal: Numbers },
  { M, N, K }: Sizes,
): Float64Array {
  const y = new Float64Array(M * N);
  for (let m = 0; m < M; m++) {
    for (let n = 0; n < N; n++) {
      let sum = 0;
      for (let k = 0; k < K; k++) sum += xReal[m * K + k]! * wReal[n * K + k]!;
      y[m * N + n] = sum;
    }
  }
  return y;
}

type Round = (value: number) => number;

/** dx = dy · wReal, each operation through `round`. */
export function backwardInput(
  { dy, wReal, dx0 }: { dy: Numbers; wReal: Numbers; dx0?: Numbers },
  { M, N, K }: Sizes,
  round: Round = (value) => value,
): Float64Array {
  const dx = new Float64Array(M * K);
  for (let m = 0; m < M; m++) {
    for (let k = 0; k < K; k++) {
      let sum = 0;
      for (let n = 0; n < N; n++) sum = round(sum + round(dy[m * N + n]! * wReal[n * K + k]!));
      dx[m * K + k] = dx0 ? round(sum + dx0[m * K + k]!) : sum;
    }
  }
  return dx;
}

/** dw = dyᵀ · xReal, each operation through `round`. */
export function backwardWeight(
  { dy, xReal, dw0 }: { dy: Numbers; xReal: Numbers; dw0?: Numbers },
  { M, N, K }: Sizes,
  round: Round = (value) => value,
): Float64Array {
  const dw = new Float64Array(N * K);
  for (let n = 0; n < N; n++) {
    for (let k = 0; k < K; k++) {
      let sum = 0;
      for (let m = 0; m < M; m++) sum = round(sum + round(dy[m * N + n]! * xReal[m * K + k]!));
      dw[n * K + k] = dw0 ? round(sum + dw0[n * K + k]!) : sum;
    }
  }
  return dw;
}

/** Rows of integers times their factors, in FP64. */
export function dequantize(q: Numbers, scale: Numbers, columns: number): Float64Array {
  return Float64Array.from(
    { length: q.length },
    (_, i) => q[i]! * scale[Math.floor(i / columns)]!,
  );
}
