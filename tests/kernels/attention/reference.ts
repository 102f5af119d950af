/**
 * Causal attention with grouped keys, straight from its definition: every row's scores, softmax and weighted sum, and the
 * gradients by the chain rule. q (B, H, T, E); k, v (B, G, capacity, E); o (B*T, H*E).
 *
 * `round` is applied after each operation; `store` to what a plain version keeps in its activations' dtype: probabilities and
 * their gradients where they enter a product, the output, and every gradient.
 */

import { exact, type Round } from "../../support/round.ts";
import type { Numbers } from "../../support/compare.ts";

export interface Shape {
  B: number;
  T: number;
  H: number;
  G: number;
  E: number;
  /** Rows of k and v a head. @default T */
  capacity?: number;
  /** Position of each sequence's first query. @default zeros */
  start?: readonly number[];
}

interface Inputs {
  q: Numbers;
  k: Numbers;
  v: Numbers;
  scale: number;
}

/** Probabilities and log-sum-exp of one query row. */
function rowOf(
  inputs: Inputs,
  shape: Shape,
  at: { b: number; h: number; t: number },
  round: Round,
): { p: Float64Array; lse: number; keys: number; queryAt: number; group: number } {
  const { T, H, G, E, capacity = T, start } = shape;
  const { b, h, t } = at;
  const group = (b * G + Math.floor(h / (H / G))) * capacity;
  const queryAt = ((b * H + h) * T + t) * E;
  const keys = (start?.[b] ?? 0) + t + 1;
  const p = new Float64Array(keys);
  let max = -Infinity;
  for (let j = 0; j < keys; j++) {
    let dot = 0;
    for (let e = 0; e < E; e++) {
      dot = round(dot + round(inputs.q[queryAt + e]! * inputs.k[(group + j) * E + e]!));
    }
    p[j] = round(dot * inputs.scale);
    max = Math.max(max, p[j]!);
  }
  let sum = 0;
  for (let j = 0; j < keys; j++) {
    p[j] = round(Math.exp(round(p[j]! - max)));
    sum = round(sum + p[j]!);
  }
  for (let j = 0; j < keys; j++) p[j] = round(p[j]! / sum);
  return { p, lse: round(max + round(Math.log(sum))), keys, queryAt, group };
}

function eachRow(
  shape: Shape,
  visit: (at: { b: number; h: number; t: number }) => void,
): void {
  for (let b = 0; b < shape.B; b++) {
    for (let h = 0; h < shape.H; h++) {
      for (let t = 0; t < shape.T; t++) visit({ b, h, t });
    }
  }
}

export function attention(
  inputs: Inputs,
  shape: Shape,
  round: Round = exact,
  store: Round = exact,
): { o: Float64Array; lse: Float64Array } {
  const { B, T, H, E } = shape;
  const o = new Float64Array(B * T * H * E);
  const lse = new Float64Array(B * H * T);
  eachRow(shape, (at) => {
    const row = rowOf(inputs, shape, at, round);
    lse[(at.b * H + at.h) * T + at.t] = row.lse;
    const out = ((at.b * T + at.t) * H + at.h) * E;
    for (let j = 0; j < row.keys; j++) {
      const p = store(row.p[j]!);
      for (let e = 0; e < E; e++) {
        o[out + e] = round(o[out + e]! + round(p * inputs.v[(row.group + j) * E + e]!));
      }
    }
  });
  return { o: o.map(store), lse };
}

export function attentionGradients(
  inputs: Inputs,
  dout: Numbers,
  shape: Shape,
  round: Round = exact,
  store: Round = exact,
): { dq: Float64Array; dk: Float64Array; dv: Float64Array } {
  const { T, H, E } = shape;
  const dq = new Float64Array(inputs.q.length);
  const dk = new Float64Array(inputs.k.length);
  const dv = new Float64Array(inputs.v.length);
  eachRow(shape, (at) => {
    const { p, keys, queryAt, group } = rowOf(inputs, shape, at, round);
    const out = ((at.b * T + at.t) * H + at.h) * E;
    const dp = new Float64Array(keys);
    const o = new Float64Array(E);
    let mean = 0;
    for (let j = 0; j < keys; j++) {
      const stored = store(p[j]!);
      for (let e = 0; e < E; e++) {
        const value = (group + j) * E + e;
        dv[value] = round(dv[value]! + round(stored * dout[out + e]!));
        dp[j] = round(dp[j]! + round(dout[out + e]! * inputs.v[value]!));
        o[e] = o[e]! + stored * inputs.v[value]!;
      }
      mean = round(mean + round(p[j]! * dp[j]!));
    }
    if (store !== exact) {
      mean = o.reduce((total, value, e) => total + store(value) * dout[out + e]!, 0);
    }
    for (let j = 0; j < keys; j++) {
      const ds = round(store(round(p[j]! * round(dp[j]! - mean))) * inputs.scale);
      for (let e = 0; e < E; e++) {
        const key = (group + j) * E + e;
        dq[queryAt + e] = round(dq[queryAt + e]! + round(ds * inputs.k[key]!));
        dk[key] = round(dk[key]! + round(ds * inputs.q[queryAt + e]!));
      }
    }
  });
  return { dq: dq.map(store), dk: dk.map(store), dv: dv.map(store) };
}
