/** The rotary embedding on the card in bfloat16; float32 is tested beside the CPU. */

import { assertEquals } from "@std/assert";
import { ropeBackward, ropeForward } from "../../../lib/kernels/rope.ts";
import { assertActivation, normalsOf, stored } from "../../support/activation.ts";
import { cudaTest } from "../../support/devices.ts";
import { floatsOf, GuardedMemory } from "../../support/sentinel.ts";
import { cosSinTable, rope, ropeGradient } from "./reference.ts";

const POSITIONS = 200;
const DTYPE = "bfloat16";

const SHAPES = [
  { B: 1, T: 1, H: 1, G: 1, E: 2, capacity: 1, start: [0] },
  { B: 2, T: 5, H: 4, G: 2, E: 100, capacity: 9, start: [0, 4] },
  { B: 1, T: 33, H: 3, G: 1, E: 64, capacity: 33, start: [0] },
  { B: 3, T: 7, H: 8, G: 2, E: 128, capacity: 20, start: [0, 13, 6] },
  { B: 2, T: 3, H: 3, G: 3, E: 6, capacity: 3, start: [0, 0] },
];

cudaTest(
  "ropeForward() of bfloat16 rotates, splits and writes nothing but its tokens",
  (device, random) => {
    for (const shape of SHAPES) {
      const { B, T, H, G, E, capacity, start } = shape;
      const qkv = normalsOf(random, B * T * (H + 2 * G) * E, { dtype: DTYPE });
      const expected = rope(qkv, cosSinTable(POSITIONS, E), shape);
      using memory = new GuardedMemory(device);
      const out = {
        q: memory.output("q", DTYPE, [B, H, T, E]),
        k: memory.output("k", DTYPE, [B, G, capacity, E]),
        v: memory.output("v", DTYPE, [B, G, capacity, E]),
      };
      ropeForward({
        qkv: memory.input("qkv", [B * T, (H + 2 * G) * E], stored(qkv, DTYPE)),
        cosSin: memory.input("cosSin", [POSITIONS, E], cosSinTable(POSITIONS, E)),
        start: memory.input("start", [B], Int32Array.from(start)),
        ...out,
      });
      memory.check();
      for (const name of ["q", "k", "v"] as const) {
        const actual = floatsOf(out[name]);
        // Tokens of the cache that are not written must still be the NaN that they were.
        const written = [...expected[name].keys()].filter((i) => !Number.isNaN(expected[name][i]!));
        assertEquals([...actual].filter((value) => !Number.isNaN(value)).length, written.length);
        assertActivation({
          name: `${name} of ${JSON.stringify(shape)}`,
          actual: written.map((i) => actual[i]!),
          expected: written.map((i) => expected[name][i]!),
          plain: [],
          dtype: DTYPE,
        });
      }
    }
  },
);

cudaTest("ropeBackward() of bfloat16 is the transpose of the forward pass", (device, random) => {
  for (const { B, T, H, G, E } of SHAPES) {
    const shape = { B, T, H, G, E, capacity: T, start: Array<number>(B).fill(0) };
    const gradients = {
      q: normalsOf(random, B * H * T * E, { dtype: DTYPE }),
      k: normalsOf(random, B * G * T * E, { dtype: DTYPE }),
      v: normalsOf(random, B * G * T * E, { dtype: DTYPE }),
    };
    using memory = new GuardedMemory(device);
    const dqkv = memory.output("dqkv", DTYPE, [B * T, (H + 2 * G) * E]);
    ropeBackward({
      dq: memory.input("dq", [B, H, T, E], stored(gradients.q, DTYPE)),
      dk: memory.input("dk", [B, G, T, E], stored(gradients.k, DTYPE)),
      dv: memory.input("dv", [B, G, T, E], stored(gradients.v, DTYPE)),
      cosSin: memory.input("cosSin", [POSITIONS, E], cosSinTable(POSITIONS, E)),
      dqkv,
    });
    memory.check();
    assertActivation({
      name: `dqkv of ${JSON.stringify(shape)}`,
      actual: floatsOf(dqkv),
      expected: ropeGradient(gradients, cosSinTable(POSITIONS, E), shape),
      plain: [],
      dtype: DTYPE,
    });
  }
});

cudaTest("ropeForward() makes q NaN and writes no cache when a token is beyond it", (device) => {
  using memory = new GuardedMemory(device);
  const [T, E, capacity] = [3, 8, 5];
  const q = memory.output("q", "float32", [1, 1, T, E]);
  const cache = new Float32Array(capacity * E).fill(7);
  const k = memory.inout("k", [1, 1, capacity, E], cache);
  const v = memory.inout("v", [1, 1, capacity, E], cache);
  ropeForward({
    qkv: memory.input("qkv", [T, 3 * E], new Float32Array(3 * T * E).fill(1)),
    cosSin: memory.input("cosSin", [POSITIONS, E], cosSinTable(POSITIONS, E)),
    start: memory.input("start", [1], Int32Array.of(4)),
    q,
    k,
    v,
  });
  memory.check();
  const rows = [...q.toFloat32Array()].map(Number.isNaN);
  assertEquals(rows, [...Array(E).fill(false), ...Array(2 * E).fill(true)]);
  const kept = (values: Float32Array) => [...values.subarray(0, 4 * E)].every((x) => x === 7);
  assertEquals([kept(k.toFloat32Array()), kept(v.toFloat32Array())], [true, true]);
});
