/**
 * Single rows of causal attention and of its gradients in FP64, from their definition.
 *
 * @module
 */

/** E values of a token. */
export type RowAt = (token: number) => Float64Array;

/** One head of one sequence. */
export interface HeadValues {
  readonly q: RowAt;
  readonly k: RowAt;
  readonly v: RowAt;
  readonly scale: number;
}

/** What the backward pass is given beside. */
export interface BackwardValues extends HeadValues {
  readonly dout: RowAt;
  /** The forward pass's result, as the backward pass reads it. */
  readonly o: RowAt;
  /** Log of the sum of exponentials, likewise. */
  readonly lse: (token: number) => number;
}

/** E values, and the sum of the magnitudes of each one's terms. */
export interface ExactRow {
  readonly values: Float64Array;
  readonly magnitudes: Float64Array;
}

/** o of query `q` that sees `seen` keys, and its log of the sum of exponentials. */
export function exactOutput(
  { k, v, scale }: Omit<HeadValues, "q">,
  { q, seen }: { q: Float64Array; seen: number },
): ExactRow & { lse: number } {
  const scores = Array.from({ length: seen }, (_, s) => scale * dot(q, k(s)));
  const largest = scores.reduce((most, score) => Math.max(most, score), -Infinity);
  const lse = largest +
    Math.log(scores.reduce((sum, score) => sum + Math.exp(score - largest), 0));
  const row = emptyRow(q.length);
  for (let s = 0; s < seen; s++) {
    const weight = Math.exp(scores[s]! - lse);
    add(row, v(s), weight, weight);
  }
  return { ...row, lse };
}

/** dq of token `t`. */
export function exactQueryGradient(values: BackwardValues, t: number): ExactRow {
  const { k, scale } = values;
  const row = emptyRow(k(0).length);
  for (let s = 0; s <= t; s++) {
    const { ds, size } = scoreGradient(values, t, s);
    add(row, k(s), scale * ds, scale * size);
  }
  return row;
}

/** dk and dv of token `s` of `T`. */
export function exactKeyGradients(
  values: BackwardValues,
  { s, T }: { s: number; T: number },
): { dk: ExactRow; dv: ExactRow } {
  const { q, dout, scale } = values;
  const dk = emptyRow(q(0).length), dv = emptyRow(q(0).length);
  for (let t = s; t < T; t++) {
    const { ds, size, p } = scoreGradient(values, t, s);
    add(dk, q(t), scale * ds, scale * size);
    add(dv, dout(t), p, p);
  }
  return { dk, dv };
}

/** p (dp - delta) of one score, and p (|dp| + |delta|). */
function scoreGradient(values: BackwardValues, t: number, s: number) {
  const { q, k, v, dout, o, lse, scale } = values;
  const p = Math.exp(scale * dot(q(t), k(s)) - lse(t));
  const dp = dot(dout(t), v(s)), delta = dot(dout(t), o(t));
  return { p, ds: p * (dp - delta), size: p * (Math.abs(dp) + Math.abs(delta)) };
}

function emptyRow(length: number): ExactRow {
  return { values: new Float64Array(length), magnitudes: new Float64Array(length) };
}

function add(to: ExactRow, row: Float64Array, factor: number, size: number): void {
  for (let e = 0; e < row.length; e++) {
    to.values[e]! += factor * row[e]!;
    to.magnitudes[e]! += Math.abs(size * row[e]!);
  }
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let e = 0; e < a.length; e++) sum += a[e]! * b[e]!;
  return sum;
}
