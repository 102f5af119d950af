// Keys and values in 8 bits. The card's part of these runs wherever there is one, by onEveryDevice().
import { assertEquals, assertThrows } from "@std/assert";
import type { Device } from "../../../lib/ffi/device.ts";
import { NativeError } from "../../../lib/ffi/errors.ts";
import { attentionDecode } from "../../../lib/kernels/attention.ts";
import { ropeForward } from "../../../lib/kernels/rope.ts";
import { roundToBfloat16, toBfloat16 } from "../../support/bfloat16.ts";
import {
  assertAsGoodAsPlain,
  assertClose,
  assertSameBits,
  largestMagnitude,
} from "../../support/compare.ts";
import { assertSameForThreads, cudaTest, onEveryDevice, openCpu } from "../../support/devices.ts";
import { type Random, withRandom } from "../../support/random.ts";
import { single } from "../../support/round.ts";
import { floatsOf, GuardedMemory, int8sOf } from "../../support/sentinel.ts";
import { cosSinTable, rope } from "../rope/reference.ts";
import { DECODING_CASES, type DecodingShape, TILE_DECODING_CASES } from "./cases.ts";
import { attention } from "./reference.ts";
import { type Activation, inputsOf } from "./run.ts";

interface Quantized {
  q: Int8Array<ArrayBuffer>;
  scale: Float32Array<ArrayBuffer>;
}

/** Rows of E values by the contract of tb_rope_forward. */
function quantizeHeads(values: Float32Array, E: number): Quantized {
  const { fround } = Math;
  const q = new Int8Array(values.length), scale = new Float32Array(values.length / E);
  for (let row = 0; row < scale.length; row++) {
    let gamma = fround(1e-30);
    for (let e = 0; e < E; e++) gamma = Math.max(gamma, Math.abs(values[row * E + e]!));
    const factor = fround(127 / gamma);
    for (let e = 0; e < E; e++) {
      const value = fround(values[row * E + e]! * factor);
      q[row * E + e] = Math.abs(value % 1) === 0.5 ? 2 * Math.round(value / 2) : Math.round(value);
    }
    scale[row] = fround(gamma / 127);
  }
  return { q, scale };
}

function widen({ q, scale }: Quantized, E: number): Float64Array {
  return Float64Array.from(q, (value, i) => value * scale[Math.floor(i / E)]!);
}

/** What no query may see: the largest values, with scales of NaN. */
function poison({ q, scale }: Quantized, shape: DecodingShape): Quantized {
  const { B, T, G, E, capacity, start } = shape;
  const poisoned = { q: q.slice(), scale: scale.slice() };
  for (let group = 0; group < B * G; group++) {
    const from = group * capacity + start[Math.floor(group / G)]! + T, to = (group + 1) * capacity;
    poisoned.q.fill(127, from * E, to * E);
    poisoned.scale.fill(NaN, from, to);
  }
  return poisoned;
}

function decode(
  device: Device,
  shape: DecodingShape,
  operands: { q: Float32Array<ArrayBuffer>; k: Quantized; v: Quantized; scale: number },
  dtype: Activation = "float32",
): Float32Array<ArrayBuffer> {
  const { B, T, H, G, E, capacity, start } = shape;
  const { k, v, scale } = operands;
  using memory = new GuardedMemory(device);
  const o = memory.output("o", dtype, [B * T, H * E]);
  const q = dtype === "bfloat16" ? toBfloat16(operands.q) : operands.q;
  attentionDecode({
    q: memory.input("q", [B, H, T, E], q),
    kCache: memory.input("kCache", [B, G, capacity, E], k.q),
    vCache: memory.input("vCache", [B, G, capacity, E], v.q),
    kScale: memory.input("kScale", [B, G, capacity], k.scale),
    vScale: memory.input("vScale", [B, G, capacity], v.scale),
    start: memory.input("start", [B], Int32Array.from(start)),
    o,
    scale,
  });
  memory.check();
  return floatsOf(o);
}

function operandsOf(shape: DecodingShape, random: Random, dtype: Activation = "float32") {
  const inputs = inputsOf(shape, random, { dtype });
  const k = quantizeHeads(inputs.k, shape.E), v = quantizeHeads(inputs.v, shape.E);
  return { q: inputs.q, scale: inputs.scale, k, v };
}

Deno.test(
  "attentionDecode() of an int8 cache gives attention to the widened values and reads nothing beyond each end",
  withRandom((random) => {
    for (const shape of DECODING_CASES) {
      const operands = operandsOf(shape, random);
      const { E } = shape;
      const widened = { ...operands, k: widen(operands.k, E), v: widen(operands.v, E) };
      const expected = attention(widened, shape).o, plain = attention(widened, shape, single).o;
      const { k, v } = operands;
      const poisoned = { ...operands, k: poison(k, shape), v: poison(v, shape) };
      onEveryDevice((device) =>
        assertAsGoodAsPlain({
          name: `o of ${JSON.stringify(shape)}`,
          actual: decode(device, shape, poisoned),
          expected,
          plain,
          floor: 16 * 2 ** -24,
          magnitude: Math.max(1, largestMagnitude(expected)), // the values of many tokens nearly cancel in their mean
        })
      );
    }
  }),
);

cudaTest(
  "attentionDecode() of bfloat16 over an int8 cache gives attention to the widened values",
  (device, random) => {
    for (const shape of TILE_DECODING_CASES) {
      const operands = operandsOf(shape, random, "bfloat16");
      const { E } = shape;
      const widened = { ...operands, k: widen(operands.k, E), v: widen(operands.v, E) };
      // Prefills of more than 8 tokens go through a copy in bfloat16.
      const rounded = {
        ...widened,
        k: Float32Array.from(widened.k).map(roundToBfloat16),
        v: Float32Array.from(widened.v).map(roundToBfloat16),
      };
      const expected = attention(widened, shape);
      const { k, v } = operands;
      assertAsGoodAsPlain({
        name: `o of ${JSON.stringify(shape)}`,
        actual: decode(device, shape, {
          ...operands,
          k: poison(k, shape),
          v: poison(v, shape),
        }, "bfloat16"),
        expected: expected.o,
        plain: attention(rounded, shape, undefined, roundToBfloat16).o,
        floor: 2 ** -9,
      });
    }
  },
);

Deno.test(
  "attentionDecode() of an int8 cache gives the same bits when threads differ, and of a sequence alone",
  withRandom((random) => {
    for (const T of [1, 3, 20]) {
      const shape = { B: 2, T, H: 4, G: 2, E: 24, capacity: 700, start: [600, 70] };
      const operands = operandsOf(shape, random);
      assertSameForThreads((device) => ({ o: decode(device, shape, operands) }));
      onEveryDevice((device) => {
        const whole = decode(device, shape, operands);
        const half = (values: Quantized) => ({
          q: values.q.slice(values.q.length / 2),
          scale: values.scale.slice(values.scale.length / 2),
        });
        const q = operands.q.slice(operands.q.length / 2);
        const alone = { ...operands, q, k: half(operands.k), v: half(operands.v) };
        assertSameBits({
          name: "second sequence",
          actual: decode(device, { ...shape, B: 1, start: [70] }, alone),
          expected: whole.slice(whole.length / 2),
        });
      });
    }
  }),
);

/** Keys and values that rope writes into an int8 cache. */
function rotate(
  device: Device,
  shape: DecodingShape,
  qkv: Float32Array<ArrayBuffer>,
) {
  const { B, T, H, G, E, capacity, start } = shape;
  using memory = new GuardedMemory(device);
  const cache = [B, G, capacity, E], scales = cache.slice(0, 3);
  const out = {
    q: memory.output("q", "float32", [B, H, T, E]),
    k: memory.output("k", "int8", cache),
    v: memory.output("v", "int8", cache),
    kScale: memory.output("kScale", "float32", scales),
    vScale: memory.output("vScale", "float32", scales),
  };
  ropeForward({
    qkv: memory.input("qkv", [B * T, (H + 2 * G) * E], qkv),
    cosSin: memory.input("cosSin", [capacity, E], cosSinTable(capacity, E)),
    start: memory.input("start", [B], Int32Array.from(start)),
    ...out,
  });
  memory.check();
  return {
    q: out.q.toFloat32Array(),
    k: { q: int8sOf(out.k), scale: out.kScale.toFloat32Array() },
    v: { q: int8sOf(out.v), scale: out.vScale.toFloat32Array() },
  };
}

Deno.test(
  "ropeForward() writes rotated keys and values as int8 to half a step, and nothing but its tokens",
  withRandom((random) => {
    for (
      const shape of [
        { B: 1, T: 1, H: 1, G: 1, E: 2, capacity: 1, start: [0] },
        { B: 3, T: 7, H: 3, G: 1, E: 34, capacity: 20, start: [0, 13, 6] },
        { B: 1, T: 1, H: 4, G: 2, E: 64, capacity: 300, start: [299] },
        { B: 2, T: 5, H: 2, G: 2, E: 256, capacity: 9, start: [0, 4] },
      ]
    ) {
      const { B, T, H, G, E } = shape;
      const qkv = random.normals(B * T * (H + 2 * G) * E);
      const expected = rope(qkv, cosSinTable(shape.capacity, E), shape);
      onEveryDevice((device) => {
        const actual = rotate(device, shape, qkv);
        assertClose({ name: "q", actual: actual.q, expected: expected.q, absolute: 1e-6 });
        for (const name of ["k", "v"] as const) {
          const { q, scale } = actual[name];
          for (let row = 0; row < scale.length; row++) {
            const wanted = expected[name].subarray(row * E, (row + 1) * E);
            if (Number.isNaN(wanted[0]!)) {
              assertEquals(Number.isNaN(scale[row]!), true, "the scale of an unwritten row");
              assertEquals(new Set(q.subarray(row * E, (row + 1) * E)), new Set([0xa7 - 256]));
              continue;
            }
            const gamma = wanted.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
            assertClose({
              name: `scale of row ${row}`,
              actual: [scale[row]!],
              expected: [gamma / 127],
              absolute: 1e-6 * gamma,
            });
            assertClose({
              name: `${name} of row ${row}`,
              actual: Array.from({ length: E }, (_, e) => q[row * E + e]! * scale[row]!),
              expected: wanted,
              absolute: 0.5001 * gamma / 127,
            });
          }
        }
      });
    }
  }),
);

Deno.test("ropeForward() rounds halves to even in an int8 cache, and lets what is not finite reach its scale", () => {
  const E = 8;
  const values = [127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, -127];
  onEveryDevice((device) => {
    const shape = { B: 1, T: 2, H: 1, G: 1, E, capacity: 2, start: [0] };
    const row = [...values, ...values, ...values];
    const { v } = rotate(device, shape, Float32Array.from([...row, ...row.with(2 * E + 3, NaN)]));
    assertEquals([...v.q.subarray(0, E)], [127, 0, 2, 2, 0, -2, -2, -127]);
    assertEquals([...v.q.subarray(E)], Array(E).fill(1));
    assertEquals([...v.scale], [1, NaN]);
  });
});

Deno.test("an int8 cache and its scales go together, and no other has them", () => {
  onEveryDevice((device) => {
    using memory = new GuardedMemory(device);
    const dtypes = ["int8", "float32"] as const;
    for (const dtype of dtypes) {
      const cache = memory.output("cache", dtype, [1, 1, 4, 8]);
      const scales = memory.output("scales", "float32", [1, 1, 4]);
      const given = dtype === "int8" ? {} : { kScale: scales, vScale: scales };
      const q = memory.output("q", "float32", [1, 1, 1, 8]);
      const start = memory.input("start", [1], new Int32Array(1));
      const o = memory.output("o", "float32", [1, 8]);
      assertThrows(
        () => attentionDecode({ q, kCache: cache, vCache: cache, start, o, scale: 1, ...given }),
        NativeError,
        "scales go with an int8 cache, and with no other",
      );
      const qkv = memory.output("qkv", "float32", [1, 24]);
      const cosSin = memory.output("cosSin", "float32", [4, 8]);
      assertThrows(
        () => ropeForward({ qkv, cosSin, start, q, k: cache, v: cache, ...given }),
        NativeError,
        "scales go with an int8 cache, and with no other",
      );
    }
  });
  using device = openCpu();
  using memory = new GuardedMemory(device);
  const cache = memory.output("cache", "int8", [1, 1, 1, 258]);
  const scales = memory.output("scales", "float32", [1, 1, 1]);
  const q = memory.output("q", "float32", [1, 1, 1, 258]);
  const qkv = memory.output("qkv", "float32", [1, 3 * 258]);
  const cosSin = memory.output("cosSin", "float32", [1, 258]);
  assertThrows(
    () => ropeForward({ qkv, cosSin, q, k: cache, v: cache, kScale: scales, vScale: scales }),
    NativeError,
    "E must be at most 256: current value is 258",
  );
});
