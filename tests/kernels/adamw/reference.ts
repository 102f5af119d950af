/** AdamW from its definition, 8-bit maps from their description, and how tests run the op. */

import type { Device } from "../../../lib/ffi/device.ts";
import { adamw } from "../../../lib/kernels/adamw.ts";
import type { Tensor } from "../../../lib/tensor/tensor.ts";
import type { Numbers } from "../../support/compare.ts";
import type { Random } from "../../support/random.ts";
import type { Round } from "../../support/round.ts";
import { GuardedMemory, type HostArray } from "../../support/sentinel.ts";

export interface Step {
  lr: number;
  beta1: number;
  beta2: number;
  eps: number;
  weightDecay: number;
  step: number;
  maxGradNorm: number;
  gradNorm: number;
}

export const STEP: Step = {
  lr: 3e-3,
  beta1: 0.9,
  beta2: 0.95,
  eps: 1e-8,
  weightDecay: 0.1,
  step: 3,
  maxGradNorm: 1,
  gradNorm: 4,
};

type Floats = Float32Array<ArrayBuffer>;

/** Operands on the host; Uint16Array holds bits of bfloat16, Uint8Array codes. */
export interface State {
  w: Floats;
  g: Floats | Uint16Array<ArrayBuffer>;
  m: Floats | Uint16Array<ArrayBuffer> | Uint8Array<ArrayBuffer>;
  v: Floats | Uint16Array<ArrayBuffer> | Uint8Array<ArrayBuffer>;
  mAbsmax?: Floats;
  vAbsmax?: Floats;
}

export type Float32State = Record<"w" | "g" | "m" | "v", Floats>;

export function stateOf(n: number, random: Random): Float32State {
  return {
    w: random.normals(n, 0.02),
    g: random.normals(n),
    m: random.normals(n, 0.1),
    v: random.normals(n, 0.1).map((value) => value * value),
  };
}

function hyperOf(step: Step): Floats {
  return Float32Array.of(
    step.lr,
    step.beta1,
    step.beta2,
    step.eps,
    step.weightDecay,
    1 - step.beta1 ** step.step,
    1 - step.beta2 ** step.step,
    step.maxGradNorm,
  );
}

/** One update; `shift`: elements by which w, g, m and v lie off an aligned address. */
export function run<S extends State>(
  device: Device,
  state: S,
  step: Step,
  { shift = 0 }: { shift?: number } = {},
): Omit<S, "g"> {
  const n = state.w.length;
  using memory = new GuardedMemory(device);
  const place = <A extends HostArray>(kind: "input" | "inout", name: string, values: A): Tensor => {
    const moved = new (values.constructor as new (length: number) => A)(n + shift);
    moved.set(values as ArrayLike<number>, shift);
    return memory[kind](name, [n + shift], moved).view([n], { offset: shift });
  };
  const w = place("inout", "w", state.w);
  const m = place("inout", "m", state.m);
  const v = place("inout", "v", state.v);
  const absmax = (name: "mAbsmax" | "vAbsmax") => {
    const values = state[name];
    return values === undefined ? null : memory.inout(name, [values.length], values);
  };
  const mAbsmax = absmax("mAbsmax"), vAbsmax = absmax("vAbsmax");
  adamw({
    w,
    g: place("input", "g", state.g),
    m,
    v,
    mAbsmax,
    vAbsmax,
    hyper: memory.input("hyper", [8], hyperOf(step)),
    gradNorm: memory.input("gradNorm", [1], Float32Array.of(step.gradNorm)),
    updates: memory.input("updates", [1], Int32Array.of(step.step)),
  });
  memory.check();
  return {
    w: w.download(state.w.slice()),
    m: m.download(state.m.slice()),
    v: v.download(state.v.slice()),
    ...(mAbsmax && { mAbsmax: mAbsmax.toFloat32Array() }),
    ...(vAbsmax && { vAbsmax: vAbsmax.toFloat32Array() }),
  } as unknown as Omit<S, "g">;
}

/** arXiv:1711.05101, algorithm 2, with decay scaled by the learning rate, after clipping by the global norm. */
export function reference(
  state: Record<"w" | "g" | "m" | "v", Numbers>,
  step: Step,
  round: Round,
) {
  const [lr, b1, b2, eps, decay, c1, c2, max] = hyperOf(step) as unknown as number[];
  const clip = max! > 0 ? Math.min(1, max! / step.gradNorm) : 1;
  const w: number[] = [], m: number[] = [], v: number[] = [];
  Array.from(state.w).forEach((weight, i) => {
    const g = round(state.g[i]! * round(clip));
    m.push(round(round(b1! * state.m[i]!) + round(round(1 - b1!) * g)));
    v.push(round(round(b2! * state.v[i]!) + round(round(1 - b2!) * round(g * g))));
    const denominator = round(round(Math.sqrt(round(v[i]! / c2!))) + eps!);
    const update = round(round(lr! * round(m[i]! / c1!)) / denominator);
    w.push(round(round(weight * round(1 - round(lr! * decay!))) - update));
  });
  return { w, m, v };
}

/**
 * The bits that every build has to give: the contract's operations, each rounded to float32. Doubles hold each result before its
 * rounding, or round it innocuously.
 */
export function bitsOf(
  state: Record<"w" | "g" | "m" | "v", Numbers>,
  step: Step,
): Record<"w" | "m" | "v", Floats> {
  const f = Math.fround;
  const [lr, b1, b2, eps, decay, c1, c2, max] = hyperOf(step) as unknown as number[];
  const clip = f(max! > 0 && step.gradNorm > max! ? max! / step.gradNorm : 1);
  const keep = f(1 - lr! * decay!), stepSize = f(lr! / c1!), rootScale = f(1 / Math.sqrt(c2!));
  const n = state.w.length;
  const w = new Float32Array(n), m = new Float32Array(n), v = new Float32Array(n);
  for (let i = 0; i < n; i++) {
    const g = f(state.g[i]! * clip);
    m[i] = f(f(b1! * state.m[i]!) + f(f(1 - b1!) * g));
    v[i] = f(f(b2! * state.v[i]!) + f(f(1 - b2!) * f(g * g)));
    const divisor = f(f(f(Math.sqrt(v[i]!)) * rootScale) + eps!);
    w[i] = f(f(keep * state.w[i]!) - f(f(stepSize * m[i]!) / divisor));
  }
  return { w, m, v };
}

/**
 * The dynamic map of 8 bits (arXiv:2110.02861), ascending: 0, 1, and for each power of ten from 1e-6 to 1 the middles of equal parts
 * of [0.1, 1] of it, twice as many with every power: 1 to 64 with both signs, 2 to 128 without.
 */
export function dynamicMap(kind: "signed" | "unsigned"): number[] {
  const entries = [0, 1];
  for (let power = 0; power < 7; power++) {
    const parts = 2 ** (kind === "signed" ? power : power + 1);
    for (let part = 0; part < parts; part++) {
      const entry = 10 ** (power - 6) * (0.1 + (0.9 * (part + 0.5)) / parts);
      entries.push(entry);
      if (kind === "signed") entries.push(-entry);
    }
  }
  return entries.map(Math.fround).sort((a, b) => a - b);
}

/** Moments as 8-bit codes stand for, float32. */
export function decode(codes: Uint8Array, absmax: Floats, map: readonly number[]): Floats {
  return Float32Array.from(
    codes,
    (code, i) => Math.fround(map[code]! * absmax[Math.floor(i / 256)]!),
  );
}

/** Largest magnitude of each 256 elements. */
export function absmaxOf(values: Floats): Floats {
  const absmax = new Float32Array(Math.ceil(values.length / 256));
  values.forEach((value, i) => {
    const block = Math.floor(i / 256);
    absmax[block] = Math.max(absmax[block]!, Math.abs(value));
  });
  return absmax;
}

/** Index of the entry nearest to a share in [-1, 1], and how near it is to the middle between two, in parts of their distance. */
export function nearest(share: number, map: readonly number[]): { code: number; margin: number } {
  let code = 0;
  for (let i = 1; i < map.length; i++) {
    if (Math.abs(share - map[i]!) < Math.abs(share - map[code]!)) code = i;
  }
  let margin = Infinity;
  for (const other of [code - 1, code + 1]) {
    if (map[other] === undefined) continue;
    const gap = Math.abs(map[other]! - map[code]!);
    const middle = (map[other]! + map[code]!) / 2;
    margin = Math.min(margin, Math.abs(share - middle) / gap);
  }
  return { code, margin };
}

/** Float32 moments as codes with their scales, zero rounding to the nearest as well. */
export function encode(values: Floats, kind: "signed" | "unsigned") {
  const map = dynamicMap(kind), absmax = absmaxOf(values);
  const codes = Uint8Array.from(
    values,
    (value, i) => nearest(value / (absmax[Math.floor(i / 256)]! || 1), map).code,
  );
  return { codes, absmax };
}
