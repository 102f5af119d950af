/** RMSNorm over rows and its gradients, from the definition; the quantisers' rules on given values. */

import type { Numbers } from "../../support/compare.ts";
import { exact, type Round } from "../../support/round.ts";

export interface Norm {
  x: Numbers;
  weight: Numbers;
  eps: number;
}

/** y = x / sqrt(mean(x²) + eps) * weight, row by row; D is weight's length. */
export function rmsnorm(
  { x, weight, eps }: Norm,
  round: Round = exact,
): { y: Float64Array; rstd: Float64Array } {
  const D = weight.length;
  const N = x.length / D;
  const y = new Float64Array(x.length);
  const rstd = new Float64Array(N);
  for (let row = 0; row < N; row++) {
    let squares = 0;
    for (let j = 0; j < D; j++) squares = round(squares + round(x[row * D + j]! ** 2));
    rstd[row] = round(1 / round(Math.sqrt(round(round(squares / D) + eps))));
    for (let j = 0; j < D; j++) {
      y[row * D + j] = round(round(x[row * D + j]! * rstd[row]!) * weight[j]!);
    }
  }
  return { y, rstd };
}

/**
 * dx and dweight from dy: y depends on x by x itself and by the root mean square. `direct` is the first part of dx alone,
 * which the other nearly cancels in narrow rows; `terms` (D) are the magnitudes that dweight is the sum of, which cancel over
 * rows.
 */
export function rmsnormGradients(
  { x, weight, eps }: Norm,
  dy: Numbers,
  round: Round = exact,
): { dx: Float64Array; dweight: Float64Array; direct: Float64Array; terms: Float64Array } {
  const D = weight.length;
  const { rstd } = rmsnorm({ x, weight, eps }, round);
  const dx = new Float64Array(x.length);
  const direct = new Float64Array(x.length);
  const dweight = new Float64Array(D);
  const terms = new Float64Array(D);
  for (let row = 0; row < rstd.length; row++) {
    const at = row * D;
    const r = rstd[row]!;
    let dr = 0; // dL/d rstd
    for (let j = 0; j < D; j++) {
      dr = round(dr + round(round(dy[at + j]! * weight[j]!) * x[at + j]!));
      const term = round(dy[at + j]! * round(x[at + j]! * r));
      dweight[j] = round(dweight[j]! + term);
      terms[j]! += Math.abs(term);
    }
    // d rstd / d x_j = -rstd³ x_j / D
    for (let j = 0; j < D; j++) {
      direct[at + j] = round(round(dy[at + j]! * weight[j]!) * r);
      dx[at + j] = round(
        direct[at + j]! - round(round(round(dr * round(r ** 3)) * x[at + j]!) / D),
      );
    }
  }
  return { dx, dweight, direct, terms };
}

/** Half to even, for magnitudes below 2^52. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

/** absmax on float32 values: exactly what arXiv:2402.17764 and its float32 implementation give. */
export function absmax(y: Float32Array): { q: Int8Array; scale: number } {
  let gamma = 0;
  for (const value of y) gamma = Math.max(gamma, Math.abs(value));
  gamma = Math.max(gamma, Math.fround(1e-5));
  const factor = Math.fround(127 / gamma);
  const q = Int8Array.from(
    y,
    (value) => Math.min(127, Math.max(-128, roundHalfEven(Math.fround(value * factor)))),
  );
  return { q, scale: Math.fround(gamma / 127) };
}

/** absmean before rounding, in double: values in units of the scale, clamped to -8 .. 7. */
export function absmeanUnits(y: Float32Array): { units: Float64Array; scale: number } {
  let sum = 0;
  for (const value of y) sum += Math.abs(value);
  const scale = Math.max(sum / y.length, 1e-5) / Math.sqrt(7);
  const units = Float64Array.from(y, (value) => Math.min(7, Math.max(-8, value / scale)));
  return { units, scale };
}
