/** Rotation, cache and attention of new tokens as one op beside the two ops, to the last bit. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import type { Device } from "../../../lib/ffi/device.ts";
import { NativeError } from "../../../lib/ffi/errors.ts";
import { attentionDecode, ropeAttentionDecode } from "../../../lib/kernels/attention.ts";
import { ropeForward } from "../../../lib/kernels/rope.ts";
import { activationCode, cacheCode, type CacheDType } from "../../../lib/tensor/dtype.ts";
import { type Activation, normalsOf, stored } from "../../support/activation.ts";
import { assertSameBits } from "../../support/compare.ts";
import { cudaTest, onEveryDevice, onEveryIsa } from "../../support/devices.ts";
import { type Random, withRandom } from "../../support/random.ts";
import { floatsOf, GuardedMemory, type HostArray } from "../../support/sentinel.ts";
import { cosSinTable } from "../rope/reference.ts";

interface Shape {
  T: number;
  H: number;
  G: number;
  E: number;
  capacity: number;
  /** @default capacity */
  positions?: number;
  start: readonly number[];
}

interface Inputs {
  qkv: Float32Array<ArrayBuffer>;
  k: HostArray;
  v: HostArray;
  scales: Float32Array<ArrayBuffer>;
}

/** Whether a sequence's tokens have angles and a place in the cache. */
function fits({ T, capacity, positions = capacity }: Shape, start: number): boolean {
  return start >= 0 && start + T <= Math.min(capacity, positions);
}

/** Random operands. From each start on the caches hold NaN, or in 8 bits scales of NaN: what the new tokens must take the place of. */
function inputsOf(random: Random, shape: Shape, dtype: Activation, cache: CacheDType): Inputs {
  const { T, H, G, E, capacity, start } = shape;
  const elements = start.length * G * capacity * E;
  const scales = random.normals(elements / E).map((value) => 0.01 * Math.abs(value));
  const floats = () => normalsOf(random, elements, { dtype: cache === "int8" ? "float32" : cache });
  const [k, v] = [floats(), floats()];
  for (const [b, at] of start.entries()) {
    for (let group = b * G; group < (b + 1) * G; group++) {
      const from = group * capacity + Math.min(Math.max(at, 0), capacity);
      const to = (group + 1) * capacity;
      scales.fill(NaN, from, to);
      for (const values of [k, v]) values.fill(NaN, from * E, to * E);
    }
  }
  const held = (values: Float32Array<ArrayBuffer>) =>
    cache === "int8" ? random.int8s(elements, -127, 127) : stored(values, cache);
  const qkv = normalsOf(random, start.length * T * (H + 2 * G) * E, { dtype });
  return { qkv, k: held(k), v: held(v), scales };
}

interface Outputs {
  /** Bytes of what both ways must leave equal, and of q. */
  bytes: Record<"o" | "k" | "v" | "kScale" | "vScale" | "q", Uint8Array>;
  o: Float32Array;
}

function run(
  device: Device,
  shape: Shape,
  inputs: Inputs,
  { dtype, cache, fused }: { dtype: Activation; cache: CacheDType; fused: boolean },
): Outputs {
  const { T, H, G, E, capacity, start, positions = capacity } = shape;
  const B = start.length;
  using memory = new GuardedMemory(device);
  const qkv = memory.input("qkv", [B * T, (H + 2 * G) * E], stored(inputs.qkv, dtype));
  const cosSin = memory.input("cosSin", [positions, E], cosSinTable(positions, E));
  const starts = memory.input("start", [B], Int32Array.from(start));
  const q = memory.output("q", dtype, [B, H, T, E]);
  const k = memory.inout("k", [B, G, capacity, E], inputs.k);
  const v = memory.inout("v", [B, G, capacity, E], inputs.v);
  const kScale = memory.inout("kScale", [B, G, capacity], inputs.scales);
  const vScale = memory.inout("vScale", [B, G, capacity], inputs.scales);
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
    bytes: {
      o: bytes(o),
      k: bytes(k),
      v: bytes(v),
      kScale: bytes(kScale),
      vScale: bytes(vScale),
      q: bytes(q),
    },
    o: floatsOf(o),
  };
}

interface Options {
  dtype: Activation;
  cache: CacheDType;
  /** Whether a card has one kernel for it, which leaves q as it was. @default not looked at */
  alone?: boolean;
  /** Changes the inputs; results may then be NaN anywhere. */
  change?: (inputs: Inputs) => void;
}

/** Passes where one op leaves what the two do, and NaN in the results of those sequences alone that do not fit. */
function assertSameAsTwo(device: Device, random: Random, shape: Shape, options: Options): void {
  const { dtype, cache, alone, change } = options;
  const inputs = inputsOf(random, shape, dtype, cache);
  change?.(inputs);
  const name = `${JSON.stringify(shape)}, ${dtype} over ${cache}`;
  const one = run(device, shape, inputs, { dtype, cache, fused: true });
  const two = run(device, shape, inputs, { dtype, cache, fused: false });
  for (const key of ["o", "k", "v", "kScale", "vScale"] as const) {
    const [actual, expected] = [one.bytes[key], two.bytes[key]];
    assertSameBits({ name: `${key} of ${name}`, actual, expected });
  }
  if (change === undefined) {
    const each = one.o.length / shape.start.length;
    for (const [b, start] of shape.start.entries()) {
      const known = one.o.subarray(b * each, (b + 1) * each).every(Number.isFinite);
      assertEquals(known, fits(shape, start), `results of sequence ${b} of ${name}`);
    }
  }
  if (alone !== undefined) {
    const isUnwritten = one.bytes.q.every((byte) => byte === 0xff);
    assertEquals(isUnwritten, alone, `one kernel for ${name}`);
  }
}

/** Runs a body with a variable of the environment set, which native code sees too. */
function withVariable(variable: string, body: () => void): void {
  Deno.env.set(variable, "1");
  try {
    body();
  } finally {
    Deno.env.delete(variable);
  }
}

/** Makes NaN of one value of a query, a key and a value, each of another sequence. */
function withNaN({ H, G, E }: Shape, inputs: Inputs): void {
  const width = (H + 2 * G) * E;
  for (const [b, at] of [1, H * E + 2, (H + G) * E + 3].entries()) inputs.qkv[b * width + at] = NaN;
}

Deno.test(
  "ropeAttentionDecode() gives the bits of the two ops on every instruction set",
  withRandom((random) => {
    for (const T of [1, 3]) {
      const shape = { T, H: 4, G: 2, E: 10, capacity: 700, start: [0, 697 - T, 310] };
      for (const cache of ["float32", "bfloat16", "int8"] as const) {
        onEveryIsa((device) => {
          assertSameAsTwo(device, random, shape, { dtype: "float32", cache });
          const change = (inputs: Inputs) => withNaN(shape, inputs);
          assertSameAsTwo(device, random, shape, { dtype: "float32", cache, change });
        });
      }
    }
  }),
);

Deno.test(
  "ropeAttentionDecode() on the CPU refuses a token that does not fit and writes nothing",
  withRandom((random) => {
    const [T, H, G, E, capacity] = [1, 2, 1, 8, 5];
    onEveryIsa((device) => {
      for (const [start, positions] of [[[1, 5], 5], [[-1, 0], 5], [[0, 3], 3]] as const) {
        using memory = new GuardedMemory(device);
        const held = random.normals(2 * G * capacity * E);
        const operands = {
          qkv: memory.input("qkv", [2, (H + 2 * G) * E], random.normals(2 * (H + 2 * G) * E)),
          cosSin: memory.input("cosSin", [positions, E], cosSinTable(positions, E)),
          start: memory.input("start", [2], Int32Array.from(start)),
          q: memory.output("q", "float32", [2, H, T, E]),
          kCache: memory.input("kCache", [2, G, capacity, E], held),
          vCache: memory.input("vCache", [2, G, capacity, E], held),
          o: memory.output("o", "float32", [2, H * E]),
          scale: 1,
        };
        assertThrows(
          () => ropeAttentionDecode(operands),
          NativeError,
          `tokens must end within the capacity 5 and the ${positions} positions: current start of sequence`,
        );
        memory.check();
        assert(operands.o.toFloat32Array().every(Number.isNaN), "o was written");
      }
    });
  }),
);

Deno.test("ropeAttentionDecode() refuses null for start and o before it writes to the cache", () => {
  onEveryDevice((device) => {
    using memory = new GuardedMemory(device);
    const given = {
      qkv: memory.input("qkv", [1, 24], new Float32Array(24)),
      cosSin: memory.input("cosSin", [4, 8], cosSinTable(4, 8)),
      start: memory.input("start", [1], new Int32Array(1)),
      q: memory.output("q", "float32", [1, 1, 1, 8]),
      cache: memory.input("cache", [1, 1, 4, 8], new Float32Array(32).fill(7)),
      o: memory.output("o", "float32", [1, 8]),
    };
    for (const missing of ["start", "o"] as const) {
      const address = (name: keyof typeof given) => name === missing ? 0n : given[name].address;
      const call = () =>
        device.symbols.tb_rope_attention_decode(
          device.context,
          activationCode("float32"),
          address("qkv"),
          address("cosSin"),
          address("start"),
          address("q"),
          cacheCode("float32"),
          address("cache"),
          address("cache"),
          0n,
          0n,
          address("o"),
          1,
          1n,
          1n,
          1n,
          1n,
          8n,
          4n,
          4n,
        );
      assertThrows(
        () => device.check(call(), "tb_rope_attention_decode"),
        NativeError,
        "Cannot run tb_rope_attention_decode as neither start nor o may be null",
      );
      memory.check();
    }
  });
});

Deno.test("ropeAttentionDecode() names itself and the tensor of another shape or dtype", () => {
  onEveryDevice((device) => {
    using memory = new GuardedMemory(device);
    const operands = {
      qkv: memory.output("qkv", "float32", [2, 32]),
      cosSin: memory.output("cosSin", "float32", [4, 8]),
      start: memory.output("start", "int32", [2]),
      q: memory.output("q", "float32", [2, 2, 1, 8]),
      kCache: memory.output("kCache", "float32", [2, 1, 4, 8]),
      vCache: memory.output("vCache", "float32", [2, 1, 4, 8]),
      o: memory.output("o", "float32", [2, 16]),
      scale: 1,
    };
    for (const name of ["qkv", "cosSin", "start", "q", "kCache", "vCache", "o"] as const) {
      const other = memory.output(name, "uint8", [3, 5, 7]);
      const error = assertThrows(() => ropeAttentionDecode({ ...operands, [name]: other }), Error);
      assert(
        error.message.startsWith("Cannot run tb_rope_attention_decode as "),
        `${name}: ${error.message}`,
      );
    }
    const scaled = {
      ...operands,
      kCache: memory.output("kCache", "int8", [2, 1, 4, 8]),
      vCache: memory.output("vCache", "int8", [2, 1, 4, 8]),
      kScale: memory.output("kScale", "float32", [2, 1, 4]),
      vScale: memory.output("vScale", "float32", [2, 1, 4]),
    };
    // Not q, whose shape says what the others' must be.
    for (
      const name of ["qkv", "cosSin", "start", "kCache", "vCache", "kScale", "vScale", "o"] as const
    ) {
      const { dtype, shape } = scaled[name];
      const other = memory.output(name, dtype, [...shape.slice(0, -1), shape.at(-1)! + 1]);
      assertThrows(
        () => ropeAttentionDecode({ ...scaled, [name]: other }),
        RangeError,
        `Cannot run tb_rope_attention_decode as ${name} must have shape (${shape}): current shape is (${other.shape})`,
      );
    }
  });
});

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
    for (const dtype of ["bfloat16", "float32"] as const) {
      for (const cache of [dtype, "int8"] as const) {
        const options = { dtype, cache, alone: true };
        for (const start of [[-1, 99, 50], [100, 0, 3], [2 ** 31 - 1, 99, -(2 ** 31)]]) {
          assertSameAsTwo(device, random, { ...shape, start }, options);
        }
        const few = { ...shape, positions: 40, start: [39, 40, 99] };
        assertSameAsTwo(device, random, few, options);
      }
    }
  },
);

cudaTest("ropeAttentionDecode() has the bits of the two ops with NaN", (device, random) => {
  for (const E of [64, 100, 128, 34]) {
    const shape = { T: 1, H: 4, G: 2, E, capacity: 150, start: [70, 149, 0] };
    const change = (inputs: Inputs) => withNaN(shape, inputs);
    for (const dtype of ["bfloat16", "float32"] as const) {
      for (const cache of [dtype, "int8"] as const) {
        assertSameAsTwo(device, random, shape, { dtype, cache, alone: true, change });
      }
    }
  }
});

cudaTest(
  "ropeAttentionDecode() is two kernels of several tokens, and with TITANBIT_NO_FUSED_ROPE=1",
  (device, random) => {
    const shape = { T: 3, H: 4, G: 2, E: 64, capacity: 100, start: [0, 97, 62] };
    for (const cache of ["bfloat16", "int8"] as const) {
      const options = { dtype: "bfloat16", cache, alone: false } as const;
      assertSameAsTwo(device, random, shape, options);
      withVariable("TITANBIT_NO_FUSED_ROPE", () => {
        assertSameAsTwo(device, random, { ...shape, T: 1 }, options);
      });
    }
  },
);

cudaTest(
  "ropeAttentionDecode() has the bits of the two ops without the other short cuts of decoding",
  (device, random) => {
    for (const variable of ["TITANBIT_NO_FUSED_MERGE", "TITANBIT_NO_OVERLAP"]) {
      withVariable(variable, () => {
        const shape = { T: 1, H: 12, G: 4, E: 64, capacity: 577, start: [5, 576, 64] };
        for (const cache of ["bfloat16", "int8"] as const) {
          assertSameAsTwo(device, random, shape, { dtype: "bfloat16", cache, alone: true });
        }
      });
    }
  },
);
