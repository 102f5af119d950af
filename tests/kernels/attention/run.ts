/** Runs the attention ops on host arrays, in float32 or bfloat16 activations. */

import type { Device } from "../../../lib/ffi/device.ts";
import {
  attentionBackward,
  attentionDecode,
  attentionForward,
} from "../../../lib/kernels/attention.ts";
import { roundToBfloat16, toBfloat16 } from "../../support/bfloat16.ts";
import type { Random } from "../../support/random.ts";
import { floatsOf, GuardedMemory } from "../../support/sentinel.ts";
import type { DecodingShape } from "./cases.ts";
import type { Shape } from "./reference.ts";

export type Activation = "float32" | "bfloat16";

/** Random operands; of bfloat16 values where the dtype is. */
export function inputsOf(
  shape: Shape,
  random: Random,
  options: { std?: number; dtype?: Activation } = {},
) {
  const { std = 1, dtype = "float32" } = options;
  const normals = (n: number, std?: number) => {
    const values = random.normals(n, std);
    return dtype === "bfloat16" ? values.map(roundToBfloat16) : values;
  };
  const { B, T, H, G, E, capacity = T } = shape;
  return {
    q: normals(B * H * T * E, std),
    k: normals(B * G * capacity * E, std),
    v: normals(B * G * capacity * E),
    dout: normals(B * T * H * E),
    scale: Math.fround(1 / Math.sqrt(E)),
  };
}

export type Inputs = ReturnType<typeof inputsOf>;

function put(values: Float32Array<ArrayBuffer>, dtype: Activation) {
  return dtype === "bfloat16" ? toBfloat16(values) : values;
}

/** The forward pass between sentinels. */
export function runForward(
  device: Device,
  shape: Shape,
  inputs: Inputs,
  dtype: Activation = "float32",
) {
  const { B, T, H, G, E } = shape;
  using memory = new GuardedMemory(device);
  const operands = {
    q: memory.input("q", [B, H, T, E], put(inputs.q, dtype)),
    k: memory.input("k", [B, G, T, E], put(inputs.k, dtype)),
    v: memory.input("v", [B, G, T, E], put(inputs.v, dtype)),
    o: memory.output("o", dtype, [B * T, H * E]),
    lse: memory.output("lse", "float32", [B, H, T]),
    scale: inputs.scale,
  };
  attentionForward(operands);
  memory.check();
  return { o: floatsOf(operands.o), lse: operands.lse.toFloat32Array() };
}

/** Both passes between sentinels. */
export function runBackward(
  device: Device,
  shape: Shape,
  inputs: Inputs,
  dtype: Activation = "float32",
) {
  const { B, T, H, G, E } = shape;
  const forward = runForward(device, shape, inputs, dtype);
  using memory = new GuardedMemory(device);
  const operands = {
    dout: memory.input("dout", [B * T, H * E], put(inputs.dout, dtype)),
    q: memory.input("q", [B, H, T, E], put(inputs.q, dtype)),
    k: memory.input("k", [B, G, T, E], put(inputs.k, dtype)),
    v: memory.input("v", [B, G, T, E], put(inputs.v, dtype)),
    o: memory.input("o", [B * T, H * E], put(forward.o, dtype)),
    lse: memory.input("lse", [B, H, T], forward.lse),
    delta: memory.output("delta", "float32", [B, H, T]),
    dq: memory.output("dq", dtype, [B, H, T, E]),
    dk: memory.output("dk", dtype, [B, G, T, E]),
    dv: memory.output("dv", dtype, [B, G, T, E]),
    scale: inputs.scale,
  };
  attentionBackward(operands);
  memory.check();
  return {
    dq: floatsOf(operands.dq),
    dk: floatsOf(operands.dk),
    dv: floatsOf(operands.dv),
  };
}

/** Attention against a cache, between sentinels. */
export function runDecode(
  device: Device,
  shape: DecodingShape,
  inputs: Inputs,
  dtype: Activation = "float32",
  cacheDtype: Activation = dtype,
): Float32Array<ArrayBuffer> {
  const { B, T, H, G, E, capacity, start } = shape;
  using memory = new GuardedMemory(device);
  const operands = {
    q: memory.input("q", [B, H, T, E], put(inputs.q, dtype)),
    kCache: memory.input("kCache", [B, G, capacity, E], put(inputs.k, cacheDtype)),
    vCache: memory.input("vCache", [B, G, capacity, E], put(inputs.v, cacheDtype)),
    start: memory.input("start", [B], Int32Array.from(start)),
    o: memory.output("o", dtype, [B * T, H * E]),
    scale: inputs.scale,
  };
  attentionDecode(operands);
  memory.check();
  return floatsOf(operands.o);
}

/** Writes NaN into what no query may see: cache rows from each sequence's end on. */
export function poisonUnseen(shape: DecodingShape, inputs: Inputs): void {
  const { B, T, G, E, capacity, start } = shape;
  for (let b = 0; b < B; b++) {
    for (let g = 0; g < G; g++) {
      const head = (b * G + g) * capacity;
      for (const cache of [inputs.k, inputs.v]) {
        cache.fill(NaN, (head + start[b]! + T) * E, (head + capacity) * E);
      }
    }
  }
}
