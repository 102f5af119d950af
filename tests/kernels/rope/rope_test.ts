import { assertEquals, assertThrows } from "@std/assert";
import type { Device } from "../../../lib/ffi/device.ts";
import { NativeError } from "../../../lib/ffi/errors.ts";
import { ropeBackward, ropeForward } from "../../../lib/kernels/rope.ts";
import { fromBfloat16, roundToBfloat16 } from "../../support/bfloat16.ts";
import { assertAsGoodAsPlain, assertSameBits } from "../../support/compare.ts";
import { assertSameForThreads, onEveryDevice, onEveryIsa, openCpu } from "../../support/devices.ts";
import { type Random, withRandom } from "../../support/random.ts";
import { single } from "../../support/round.ts";
import type { Tensor } from "../../../lib/tensor/tensor.ts";
import { GuardedMemory } from "../../support/sentinel.ts";
import { cosSinTable, rope, ropeGradient, type Shape } from "./reference.ts";

const POSITIONS = 300;

const CASES: readonly Shape[] = [
  { B: 1, T: 1, H: 1, G: 1, E: 2, capacity: 1, start: [0] },
  { B: 2, T: 5, H: 4, G: 2, E: 100, capacity: 5, start: [0, 0] },
  { B: 3, T: 7, H: 3, G: 1, E: 34, capacity: 20, start: [0, 13, 6] },
  { B: 1, T: 1, H: 2, G: 2, E: 64, capacity: 300, start: [299] },
  { B: 1, T: 67, H: 5, G: 5, E: 16, capacity: 80, start: [11] },
];

function runForward(
  device: Device,
  shape: Shape,
  qkv: Float32Array<ArrayBuffer>,
  options: { withStart: boolean; cacheDtype?: "float32" | "bfloat16" },
) {
  const cacheDtype = options.cacheDtype ?? "float32";
  const { B, T, H, G, E, capacity, start } = shape;
  using memory = new GuardedMemory(device);
  const operands = {
    qkv: memory.input("qkv", [B * T, (H + 2 * G) * E], qkv),
    cosSin: memory.input("cosSin", [POSITIONS, E], cosSinTable(POSITIONS, E)),
    start: options.withStart ? memory.input("start", [B], Int32Array.from(start)) : null,
    q: memory.output("q", "float32", [B, H, T, E]),
    k: memory.output("k", cacheDtype, [B, G, capacity, E]),
    v: memory.output("v", cacheDtype, [B, G, capacity, E]),
  };
  ropeForward(operands);
  memory.check();
  return {
    q: operands.q.toFloat32Array(),
    k: floatsOf(operands.k),
    v: floatsOf(operands.v),
  };
}

function floatsOf(tensor: Tensor): Float32Array<ArrayBuffer> {
  return tensor.dtype === "bfloat16"
    ? fromBfloat16(tensor.download(new Uint16Array(tensor.length)))
    : tensor.toFloat32Array();
}

function inputsOf({ B, T, H, G, E }: Shape, random: Random): Float32Array<ArrayBuffer> {
  return random.normals(B * T * (H + 2 * G) * E);
}

/** Rows of a cache that were written; the others must still be the NaN they were. */
function written(values: ArrayLike<number>, expected: Float64Array): [number[], number[]] {
  const actual: number[] = [], wanted: number[] = [];
  expected.forEach((value, i) => {
    if (Number.isNaN(value) && Number.isNaN(values[i]!)) return;
    actual.push(values[i]!);
    wanted.push(value);
  });
  return [actual, wanted];
}

Deno.test(
  "ropeForward() rotates, splits and writes nothing but its tokens at awkward shapes",
  withRandom((random) => {
    for (const shape of CASES) {
      const qkv = inputsOf(shape, random);
      const table = cosSinTable(POSITIONS, shape.E);
      const expected = rope(qkv, table, shape);
      const plain = rope(qkv, table, shape, single);
      onEveryDevice((device) => {
        const actual = runForward(device, shape, qkv, { withStart: true });
        for (const name of ["q", "k", "v"] as const) {
          const [values, wanted] = written(actual[name], expected[name]);
          assertAsGoodAsPlain({
            name: `${name} of ${JSON.stringify(shape)}`,
            actual: values,
            expected: wanted,
            plain: plain[name].filter((value) => !Number.isNaN(value)),
          });
        }
      });
    }
  }),
);

Deno.test(
  "ropeForward() rounds keys and values once when the cache is bfloat16",
  withRandom((random) => {
    for (const shape of CASES) {
      const qkv = inputsOf(shape, random);
      onEveryIsa((device) => {
        const actual = runForward(device, shape, qkv, { withStart: true, cacheDtype: "bfloat16" });
        const exact = runForward(device, shape, qkv, { withStart: true });
        assertSameBits({ name: "q", actual: actual.q, expected: exact.q });
        for (const name of ["k", "v"] as const) {
          const expected = exact[name].map(roundToBfloat16);
          assertEquals(actual[name], expected); // NaN stands where nothing was written
        }
      });
    }
  }),
);

Deno.test(
  "ropeForward() starts every sequence at token 0 when start is left out",
  withRandom((random) => {
    const shape = { B: 2, T: 6, H: 2, G: 1, E: 8, capacity: 6, start: [0, 0] };
    const qkv = inputsOf(shape, random);
    using device = openCpu();
    const given = runForward(device, shape, qkv, { withStart: true });
    const omitted = runForward(device, shape, qkv, { withStart: false });
    for (const name of ["q", "k", "v"] as const) {
      assertSameBits({ name, actual: omitted[name], expected: given[name] });
    }
  }),
);

function runBackward(
  device: Device,
  { B, T, H, G, E }: Shape,
  gradients: Record<"q" | "k" | "v", Float32Array<ArrayBuffer>>,
): Float32Array<ArrayBuffer> {
  using memory = new GuardedMemory(device);
  const dqkv = memory.output("dqkv", "float32", [B * T, (H + 2 * G) * E]);
  ropeBackward({
    dq: memory.input("dq", [B, H, T, E], gradients.q),
    dk: memory.input("dk", [B, G, T, E], gradients.k),
    dv: memory.input("dv", [B, G, T, E], gradients.v),
    cosSin: memory.input("cosSin", [POSITIONS, E], cosSinTable(POSITIONS, E)),
    dqkv,
  });
  memory.check();
  return dqkv.toFloat32Array();
}

const TRAINING_CASES = CASES.map((shape) => ({
  ...shape,
  capacity: shape.T,
  start: shape.start.map(() => 0),
}));

function gradientsOf({ B, T, H, G, E }: Shape, random: Random) {
  return {
    q: random.normals(B * H * T * E),
    k: random.normals(B * G * T * E),
    v: random.normals(B * G * T * E),
  };
}

Deno.test(
  "ropeBackward() is the transpose of the forward pass at awkward shapes",
  withRandom((random) => {
    for (const shape of TRAINING_CASES) {
      const gradients = gradientsOf(shape, random);
      const table = cosSinTable(POSITIONS, shape.E);
      onEveryDevice((device) => {
        assertAsGoodAsPlain({
          name: `dqkv of ${JSON.stringify(shape)}`,
          actual: runBackward(device, shape, gradients),
          expected: ropeGradient(gradients, table, shape),
          plain: ropeGradient(gradients, table, shape, single),
        });
      });
    }
  }),
);

Deno.test(
  "ropeBackward() gives the directional derivative that the forward definition gives",
  withRandom((random) => {
    // The map is linear: <rope(x), g> = <x, ropeᵀ(g)> for every x, without any step.
    const shape = { B: 2, T: 9, H: 3, G: 3, E: 12, capacity: 9, start: [0, 0] };
    const gradients = gradientsOf(shape, random);
    const x = inputsOf(shape, random);
    const out = rope(x, cosSinTable(POSITIONS, shape.E), shape);
    using device = openCpu();
    const dqkv = runBackward(device, shape, gradients);
    let forward = 0, backward = 0, size = 0;
    for (const name of ["q", "k", "v"] as const) {
      out[name].forEach((value, i) => forward += value * gradients[name][i]!);
    }
    x.forEach((value, i) => {
      backward += value * dqkv[i]!;
      size += Math.abs(value * dqkv[i]!);
    });
    if (!(Math.abs(forward - backward) <= 1e-6 * size)) {
      throw new Error(`forward ${forward}, backward ${backward}`);
    }
  }),
);

Deno.test(
  "rope gives the same bits when threads differ",
  withRandom((random) => {
    const shape = { B: 2, T: 101, H: 4, G: 2, E: 36, capacity: 101, start: [0, 0] };
    const qkv = inputsOf(shape, random);
    const gradients = gradientsOf(shape, random);
    assertSameForThreads((device) => ({
      ...runForward(device, shape, qkv, { withStart: false }),
      dqkv: runBackward(device, shape, gradients),
    }));
  }),
);

Deno.test(
  "ropeForward() refuses when a token lies beyond the table of angles",
  withRandom((random) => {
    const shape = { B: 1, T: 2, H: 1, G: 1, E: 2, capacity: 400, start: [299] };
    using device = openCpu();
    assertThrows(
      () => runForward(device, shape, inputsOf(shape, random), { withStart: true }),
      NativeError,
      "the 300 positions",
    );
  }),
);
