/** Moments as 8-bit codes, held to maps that are written here from their description. */

import { assert, assertEquals, assertLess, assertThrows } from "@std/assert";
import { NativeError } from "../../../lib/ffi/errors.ts";
import { adamw } from "../../../lib/kernels/adamw.ts";
import { toBfloat16 } from "../../support/bfloat16.ts";
import { assertSameBits } from "../../support/compare.ts";
import { assertSameForThreads, onEveryDevice } from "../../support/devices.ts";
import { type Random, withRandom } from "../../support/random.ts";
import { GuardedMemory } from "../../support/sentinel.ts";
import {
  absmaxOf,
  bitsOf,
  decode,
  dynamicMap,
  encode,
  nearest,
  run,
  stateOf,
  STEP,
} from "./reference.ts";

const SIGNED = dynamicMap("signed"), UNSIGNED = dynamicMap("unsigned");
const LENGTHS = [1, 3, 255, 256, 257, 700, 9001];

function int8State(n: number, random: Random, spread = 0) {
  const { w, g, m, v } = stateOf(n, random);
  // Magnitudes over `spread` powers of ten, so that codes of every decade are met.
  const factor = Float32Array.from(w, () => 10 ** (-spread * random.uniform()));
  const first = encode(m.map((value, i) => value * factor[i]!), "signed");
  const second = encode(v.map((value, i) => value * factor[i]!), "unsigned");
  return {
    w,
    g: g.map((value, i) => value * factor[i]!),
    m: first.codes,
    v: second.codes,
    mAbsmax: first.absmax,
    vAbsmax: second.absmax,
  };
}

type Int8State = ReturnType<typeof int8State>;

function widened({ w, g, m, v, mAbsmax, vAbsmax }: Int8State) {
  return { w, g, m: decode(m, mAbsmax, SIGNED), v: decode(v, vAbsmax, UNSIGNED) };
}

/** Codes must be those of the nearest entries, but for values on the edge between two; v above 0 never has code 0. */
function assertNearest(
  codes: Uint8Array,
  values: Float32Array<ArrayBuffer>,
  options: { map: readonly number[]; name: string },
): void {
  const { map, name } = options;
  const absmax = absmaxOf(values);
  codes.forEach((actual, i) => {
    const share = values[i]! / (absmax[Math.floor(i / 256)]! || 1);
    const { code, margin } = nearest(share, map);
    const expected = name === "v" && values[i]! > 0 ? Math.max(code, 1) : code;
    const isEdge = margin < 1e-5 && Math.abs(actual - code) === 1;
    assert(
      actual === expected || isEdge,
      `code ${i} of ${name}: ${actual}, not ${expected}, for a share of ${share}, ${margin} of a step from an edge`,
    );
  });
}

Deno.test("the maps have the entries that bitsandbytes' have", () => {
  assertEquals([SIGNED.length, UNSIGNED.length], [256, 256]);
  assertEquals([SIGNED[127], SIGNED[255], UNSIGNED[0], UNSIGNED[255]], [0, 1, 0, 1]);
  // Its printed values, to the six digits that are given.
  for (
    const [map, code, value] of [
      [SIGNED, 0, -0.992969],
      [SIGNED, 128, 5.5e-7],
      [SIGNED, 254, 0.992969],
      [UNSIGNED, 1, 3.25e-7],
      [UNSIGNED, 254, 0.996484],
    ] as const
  ) assertLess(Math.abs(map[code]! / value - 1), 1e-6);
});

for (const spread of [0, 4, 9]) {
  Deno.test(
    `adamw() of int8 moments keeps the nearest entries when magnitudes spread over ${spread} powers of ten`,
    withRandom((random) => {
      for (const n of LENGTHS) {
        const state = int8State(n, random, spread);
        const expected = bitsOf(widened(state), STEP);
        onEveryDevice((device) => {
          for (const shift of [0, 1]) {
            const actual = run(device, state, STEP, { shift });
            assertSameBits({ name: "w", actual: actual.w, expected: expected.w });
            for (
              const [name, map] of [["m", SIGNED], ["v", UNSIGNED]] as const
            ) {
              assertSameBits({
                name: `absmax of ${name}`,
                actual: actual[`${name}Absmax`],
                expected: absmaxOf(expected[name]),
              });
              assertNearest(actual[name], expected[name], { map, name });
            }
          }
        });
      }
    }),
  );
}

Deno.test("adamw() of int8 moments reads every code for the entry of its map", () => {
  // b1 = b2 = 1 leave moments as they are; with g = 0 the weight says what was read.
  const codes = Uint8Array.from({ length: 256 }, (_, code) => code);
  const state = {
    w: new Float32Array(256),
    g: new Float32Array(256),
    m: codes,
    v: codes,
    mAbsmax: Float32Array.of(0.7),
    vAbsmax: Float32Array.of(3e-5),
  };
  const step = { ...STEP, beta1: 1 - 2 ** -24, beta2: 1 - 2 ** -24, lr: 1, eps: 1 };
  const expected = bitsOf(widened(state), step);
  onEveryDevice((device) => {
    const actual = run(device, state, step);
    assertSameBits({ name: "w", actual: actual.w, expected: expected.w });
    // Code 0 of m stands for -0.993, the largest magnitude but for code 255's.
    assertSameBits({ name: "codes of v", actual: actual.v, expected: codes });
    assertSameBits({ name: "codes of m", actual: actual.m, expected: codes });
  });
});

Deno.test(
  "adamw() of int8 moments never explodes when gradients of one block differ by twelve powers of ten",
  withRandom((random) => {
    const n = 512, updates = 60;
    const step = { ...STEP, lr: 1, weightDecay: 0, maxGradNorm: 0 };
    const scale = Float32Array.from({ length: n }, (_, i) => 10 ** (-12 * (i % 256) / 255));
    const runs = Array.from(
      { length: updates },
      () => scale.map((value) => value * (1 + 0.5 * random.normal())),
    );
    onEveryDevice((device) => {
      let state: Int8State = {
        w: new Float32Array(n),
        g: runs[0]!,
        m: new Uint8Array(n),
        v: new Uint8Array(n),
        mAbsmax: new Float32Array(2),
        vAbsmax: new Float32Array(2),
      };
      for (const [index, g] of runs.entries()) {
        const next = run(device, { ...state, g }, { ...step, step: index + 1 });
        for (let i = 0; i < n; i++) {
          const move = Math.abs(next.w[i]! - state.w[i]!);
          assert(move <= 4, `update ${index + 1} moved weight ${i} by ${move} times the rate`);
          assert(next.v[i]! > 0, `v of weight ${i} became 0`);
        }
        state = { ...next, g };
      }
      // The largest of a block move as they would with float32.
      assertLess(Math.abs(state.w[0]! + updates), updates / 4);
    });
  }),
);

Deno.test("adamw() of int8 moments gives codes of 0 to gradients that always were 0", () => {
  const n = 300;
  const state = {
    w: new Float32Array(n).fill(1),
    g: new Float32Array(n),
    m: new Uint8Array(n),
    v: new Uint8Array(n),
    mAbsmax: new Float32Array(2),
    vAbsmax: new Float32Array(2),
  };
  onEveryDevice((device) => {
    const { w, m, v, mAbsmax, vAbsmax } = run(device, state, { ...STEP, weightDecay: 0 });
    assertEquals([w.every((value) => value === 1), v.every((code) => code === 0)], [true, true]);
    assertEquals([...m.subarray(0, 2), ...mAbsmax, ...vAbsmax], [127, 127, 0, 0, 0, 0]);
  });
});

Deno.test("adamw() of int8 moments stays finite when squares are beyond float32, or too small for it", () => {
  for (const gradient of [3e38, 1e-22, 1e-30]) {
    const state = {
      w: new Float32Array(256),
      g: new Float32Array(256).fill(gradient),
      m: new Uint8Array(256),
      v: new Uint8Array(256),
      mAbsmax: new Float32Array(1),
      vAbsmax: new Float32Array(1),
    };
    onEveryDevice((device) => {
      const step = { ...STEP, maxGradNorm: 0 };
      const after = run(device, state, step);
      const again = run(device, { ...after, g: state.g }, step);
      for (const values of [again.w, again.mAbsmax, again.vAbsmax]) {
        assert(values.every(Number.isFinite), `${gradient}: ${values.find((x) => !isFinite(x))}`);
      }
    });
  }
});

Deno.test(
  "adamw() of int8 moments takes gradients in bfloat16, and leaves all untouched when the norm is NaN",
  withRandom((random) => {
    const state = int8State(700, random);
    const g = toBfloat16(state.g);
    const rounded = Float32Array.from(
      g,
      (bits) => new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!,
    );
    const expected = bitsOf({ ...widened(state), g: rounded }, STEP);
    onEveryDevice((device) => {
      for (const shift of [0, 1]) {
        const actual = run(device, { ...state, g }, STEP, { shift });
        assertSameBits({ name: "w", actual: actual.w, expected: expected.w });
        const skipped = run(device, { ...state, g }, { ...STEP, gradNorm: NaN }, { shift });
        for (const name of ["w", "m", "v", "mAbsmax", "vAbsmax"] as const) {
          assertSameBits({ name, actual: skipped[name], expected: state[name] });
        }
      }
    });
  }),
);

Deno.test(
  "adamw() of int8 moments gives every device the same bits over ten updates, whatever the threads",
  withRandom((random) => {
    const start = int8State(20_011, random, 3);
    const ten = (device: Parameters<typeof run>[0]) => {
      let state = start;
      for (let step = 1; step <= 10; step++) {
        state = {
          ...run(device, state, { ...STEP, step }),
          g: state.g.map((value) => -0.9 * value),
        };
      }
      return { ...state };
    };
    let expected: Int8State | null = null;
    onEveryDevice((device) => {
      const actual = ten(device);
      expected ??= actual;
      for (const name of ["w", "m", "v", "mAbsmax", "vAbsmax"] as const) {
        assertSameBits({ name, actual: actual[name], expected: expected[name] });
      }
    });
    assertSameForThreads(ten);
  }),
);

Deno.test("adamw() refuses int8 moments without their scales, naming them", () => {
  onEveryDevice((device) => {
    using memory = new GuardedMemory(device);
    const codes = () => memory.inout("codes", [2], new Uint8Array(2));
    const error = assertThrows(
      () =>
        adamw({
          w: memory.inout("w", [2], new Float32Array(2)),
          g: memory.input("g", [2], new Float32Array(2)),
          m: codes(),
          v: codes(),
          hyper: memory.input("hyper", [8], new Float32Array(8).fill(1)),
          gradNorm: memory.input("gradNorm", [1], Float32Array.of(1)),
        }),
      NativeError,
      "m_absmax and v_absmax must be given",
    );
    assertEquals(error.status, "invalid argument");
  });
});
