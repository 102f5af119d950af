/** Rotation, cache and attention of a token as one op beside the two ops, to the last bit. */

import { assert, assertEquals } from "@std/assert";
import type { Device } from "../../../lib/ffi/device.ts";
import { attentionDecode, ropeAttentionDecode } from "../../../lib/kernels/attention.ts";
import { ropeForward } from "../../../lib/kernels/rope.ts";
import type { CacheDType } from "../../../lib/tensor/dtype.ts";
import { type Activation, normalsOf, stored } from "../../support/activation.ts";
import { assertSameBits } from "../../support/compare.ts";
import { cudaTest, onEveryIsa } from "../../support/devices.ts";
import { type Random, withRandom } from "../../support/random.ts";
import { GuardedMemory, type HostArray } from "../../support/sentinel.ts";
import { cosSinTable } from "../rope/reference.ts";

interface Shape {
  T: number;
  H: number;
  G: number;
  E: number;
  capacity: number;
  positions?: number;
  start: readonly number[];
}

interface Inputs {
  qkv: Float32Array<ArrayBuffer>;
  k: HostArray;
  v: HostArray;
  scales: Float32Array<ArrayBuffer>;
}

function inputsOf(random: Random, shape: Shape, dtype: Activation, cache: CacheDType): Inputs {
  const { T, H, G, E, capacity, start } = shape;
  const elements = start.length * G * capacity * E;
  const held = () =>
    cache === "int8"
      ? random.int8s(elements, -127, 127)
      : stored(normalsOf(random, elements, { dtype: cache }), cache);
  return {
    qkv: normalsOf(random, start.length * T * (H + 2 * G) * E, { dtype }),
    k: held(),
    v: held(),
    scales: random.normals(elements / E).map((value) => 0.01 * Math.abs(value)),
  };
}

/** Bytes of o, the caches and q. */
function run(
  device: Device,
  shape: Shape,
  inputs: Inputs,
  { dtype, cache, fused }: { dtype: Activation; cache: CacheDType; fused: boolean },
): Record<"o" | "k" | "v" | "kScale" | "vScale" | "q", Uint8Array> {
  const { T, H, G, E, capacity, start, positions = capacity } = shape;
  const B = start.length;
  using memory = new GuardedMemory(device);
  const qkv = memory.input("qkv", [B * T, (H + 2 * G) * E], stored(inputs.qkv, dtype));
  const cosSin = memory.input("cosSin", [positions, E], cosSinTable(positions, E));
  const starts = memory.input("start", [B], Int32Array.from(start));
  const q = memory.output("q", dtype, [B, H, T, E]);
  const k = memory.inout("k", [B, G, capacity, E], inputs.k);
  const v = memory.inout("v", [B, G, capacity, E], inputs.v);
  const [kScale, vScale] = ["kScale", "vScale"].map((name) =>
    memory.inout(name, [B, G, capacity], inputs.scales)
  ) as [typeof k, typeof k];
  const scales = cache === "int8" ? { kScale, vScale } : {};
  const o = memory.output("o", dtype, [B * T, H * E]);
  const caches = { kCache: k, vCache: v, ...scales };
  const scale = Math.fround(E ** -0.5);
  if (fused) {
    ropeAttentionDecode({ qkv, cosSin, start: starts, q, ...caches, o, scale });
  } else {
    ropeForward({ qkv, cosSin, start: starts, q, k, v, ...scales });
    attentionDecode({ q, ...caches, start: starts, o, scale });
  }
  memory.check();
  const bytes = (tensor: typeof k) => tensor.download(new Uint8Array(tensor.bytes));
  return {
    o: bytes(o),
    k: bytes(k),
    v: bytes(v),
    kScale: bytes(kScale),
    vScale: bytes(vScale),
    q: bytes(q),
  };
}

/** Passes where one op leaves what the two do; with `alone`, where a card left q as it was. */
function assertSameAsTwo(
  device: Device,
  random: Random,
  shape: Shape,
  options: { dtype: Activation; cache: CacheDType; alone?: boolean },
): void {
  const { dtype, cache, alone } = options;
  const inputs = inputsOf(random, shape, dtype, cache);
  const name = `${JSON.stringify(shape)}, ${dtype} over ${cache}`;
  const one = run(device, shape, inputs, { dtype, cache, fused: true });
  const two = run(device, shape, inputs, { dtype, cache, fused: false });
  for (const key of ["o", "k", "v", "kScale", "vScale"] as const) {
    assertSameBits({ name: `${key} of ${name}`, actual: one[key], expected: two[key] });
  }
  const before = new Uint8Array(inputs.k.buffer);
  const fits = shape.start.some((at) =>
    at >= 0 && at + shape.T <= shape.capacity && at < (shape.positions ?? shape.capacity)
  );
  assert(!fits || one.k.some((byte, i) => byte !== before[i]), `no key of ${name} was written`);
  if (alone !== undefined) {
    assertEquals(one.q.every((byte) => byte === 0xff), alone, `one kernel for ${name}`);
  }
}

Deno.test(
  "ropeAttentionDecode() gives the bits of the two ops on every instruction set",
  withRandom((random) => {
    for (const T of [1, 3]) {
      const shape = { T, H: 4, G: 2, E: 10, capacity: 70, start: [0, 66, 31] };
      for (const cache of ["float32", "bfloat16", "int8"] as const) {
        onEveryIsa((device) => assertSameAsTwo(device, random, shape, { dtype: "float32", cache }));
      }
    }
  }),
);

const CARD_SHAPES: readonly Shape[] = [
  { T: 1, H: 32, G: 32, E: 64, capacity: 577, start: [512] },
  { T: 1, H: 4, G: 4, E: 64, capacity: 200, start: [0, 63, 64, 65, 127, 128, 199] },
  { T: 1, H: 12, G: 4, E: 64, capacity: 130, start: [5, 128, 64] },
  { T: 1, H: 16, G: 2, E: 128, capacity: 300, start: [299, 1] },
  { T: 1, H: 32, G: 32, E: 100, capacity: 150, start: [149, 64, 63] },
  { T: 1, H: 10, G: 2, E: 100, capacity: 64, start: [0, 63] },
  { T: 1, H: 3, G: 1, E: 48, capacity: 90, start: [70, 2] },
  { T: 1, H: 5, G: 5, E: 2, capacity: 66, start: [65, 0] },
  { T: 1, H: 6, G: 3, E: 200, capacity: 100, start: [99, 64] },
  { T: 1, H: 2, G: 1, E: 256, capacity: 5000, start: [4999, 4096, 0] },
];

cudaTest(
  "ropeAttentionDecode() of a token is one kernel with the bits of the two",
  (device, random) => {
    for (const shape of CARD_SHAPES) {
      for (const dtype of ["bfloat16", "float32"] as const) {
        for (const cache of [dtype, "int8"] as const) {
          assertSameAsTwo(device, random, shape, { dtype, cache, alone: true });
        }
      }
    }
  },
);

cudaTest(
  "ropeAttentionDecode() has the bits of the two ops where tokens don't fit",
  (device, random) => {
    const shape = { T: 1, H: 4, G: 2, E: 64, capacity: 100 };
    for (const cache of ["bfloat16", "int8"] as const) {
      for (const start of [[-1, 100, 50], [2 ** 31 - 1, 99, 3]]) {
        assertSameAsTwo(device, random, { ...shape, start }, {
          dtype: "bfloat16",
          cache,
          alone: true,
        });
      }
      const few = { ...shape, positions: 40, start: [39, 40, 99] };
      assertSameAsTwo(device, random, few, { dtype: "bfloat16", cache, alone: true });
    }
  },
);

cudaTest(
  "ropeAttentionDecode() is two kernels of several tokens, and with TITANBIT_NO_FUSED_DECODE=1",
  (device, random) => {
    const shape = { T: 3, H: 4, G: 2, E: 64, capacity: 100, start: [0, 97, 62] };
    const options = { dtype: "bfloat16", cache: "bfloat16", alone: false } as const;
    assertSameAsTwo(device, random, shape, options);
    Deno.env.set("TITANBIT_NO_FUSED_DECODE", "1");
    try {
      assertSameAsTwo(device, random, { ...shape, T: 1 }, options);
    } finally {
      Deno.env.delete("TITANBIT_NO_FUSED_DECODE");
    }
  },
);
