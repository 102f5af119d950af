/** Rotary embedding of halves and the split into heads, from the definition, with the gradient as the transpose. */

import type { Numbers } from "../../support/compare.ts";
import { exact, type Round } from "../../support/round.ts";

export interface Shape {
  B: number;
  T: number;
  H: number;
  G: number;
  E: number;
  capacity: number;
  start: readonly number[];
}

/** A row of E/2 cosines and E/2 sines for each position. */
export function cosSinTable(
  positions: number,
  E: number,
  theta = 10000,
): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: positions * E }, (_, i) => {
    const position = Math.floor(i / E);
    const j = i % (E / 2);
    const angle = position / theta ** ((2 * j) / E);
    return i % E < E / 2 ? Math.cos(angle) : Math.sin(angle);
  });
}

/**
 * Calls `visit` for every element that the split moves: index in qkv, which tensor and index there, and its partner in
 * the rotation with the sign of the sine (null: copied).
 */
function eachElement(
  { B, T, H, G, E, capacity, start }: Shape,
  visit: (
    element: {
      from: number;
      to: "q" | "k" | "v";
      at: number;
      partner: number;
      cos: number;
      sin: number;
      sign: number;
    },
  ) => void,
): void {
  const width = (H + 2 * G) * E;
  for (let b = 0; b < B; b++) {
    for (let t = 0; t < T; t++) {
      const position = start[b]! + t;
      for (let column = 0; column < width; column++) {
        const head = Math.floor(column / E), e = column % E;
        const to = head < H ? "q" : head < H + G ? "k" : "v";
        const row = to === "q"
          ? (b * H + head) * T + t
          : (b * G + ((head - H) % G)) * capacity + position;
        const low = e < E / 2;
        visit({
          from: (b * T + t) * width + column,
          to,
          at: row * E + e,
          partner: low ? E / 2 : -E / 2,
          cos: position * E + (e % (E / 2)),
          sin: position * E + E / 2 + (e % (E / 2)),
          sign: to === "v" ? 0 : low ? -1 : 1,
        });
      }
    }
  }
}

export function rope(
  qkv: Numbers,
  table: Numbers,
  shape: Shape,
  round: Round = exact,
): { q: Float64Array; k: Float64Array; v: Float64Array } {
  const { B, T, H, G, E, capacity } = shape;
  const cache = B * G * capacity * E;
  const out = {
    q: new Float64Array(B * H * T * E).fill(NaN),
    k: new Float64Array(cache).fill(NaN),
    v: new Float64Array(cache).fill(NaN),
  };
  eachElement(shape, ({ from, to, at, partner, cos, sin, sign }) => {
    out[to][at] = sign === 0 ? qkv[from]! : round(
      round(qkv[from]! * table[cos]!) + sign * round(qkv[from + partner]! * table[sin]!),
    );
  });
  return out;
}

/** dL/dqkv of L = sum of out * gradient. */
export function ropeGradient(
  gradients: { q: Numbers; k: Numbers; v: Numbers },
  table: Numbers,
  shape: Shape,
  round: Round = exact,
): Float64Array {
  const { B, T, H, G, E } = shape;
  const dqkv = new Float64Array(B * T * (H + 2 * G) * E);
  eachElement(shape, ({ from, to, at, partner, cos, sin, sign }) => {
    const gradient = gradients[to][at]!;
    if (sign === 0) {
      dqkv[from] = gradient;
      return;
    }
    dqkv[from] = round(dqkv[from]! + round(gradient * table[cos]!));
    dqkv[from + partner] = round(dqkv[from + partner]! + sign * round(gradient * table[sin]!));
  });
  return dqkv;
}
