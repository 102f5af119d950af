/** Moments in bfloat16: rounded to one of the two neighbours, without bias, by bits that element and update decide. */

import { assert, assertEquals, assertGreater, assertLess, assertThrows } from "@std/assert";
import { NativeError } from "../../../lib/ffi/errors.ts";
import { adamw } from "../../../lib/kernels/adamw.ts";
import { fromBfloat16, toBfloat16 } from "../../support/bfloat16.ts";
import { assertSameBits } from "../../support/compare.ts";
import { assertSameForThreads, onEveryDevice, openCpu } from "../../support/devices.ts";
import { type Random, withRandom } from "../../support/random.ts";
import { GuardedMemory } from "../../support/sentinel.ts";
import { bitsOf, run, stateOf, STEP } from "./reference.ts";

function bfloat16State(n: number, random: Random) {
  const { w, g, m, v } = stateOf(n, random);
  return { w, g, m: toBfloat16(m), v: toBfloat16(v) };
}

function widened(state: ReturnType<typeof bfloat16State>) {
  return { ...state, m: fromBfloat16(state.m), v: fromBfloat16(state.v) };
}

/** For each value whether the neighbour above it in magnitude was taken; fails where it is neither, or an exact value moved. */
function liftsOf(rounded: Uint16Array, exact: Float32Array<ArrayBuffer>): boolean[] {
  const bits = new Uint32Array(exact.buffer);
  return Array.from(rounded, (half, i) => {
    const below = bits[i]! >>> 16, isExact = (bits[i]! & 0xffff) === 0;
    assert(half === below || (half === below + 1 && !isExact), `${exact[i]} became bits ${half}`);
    return half !== below;
  });
}

Deno.test(
  "adamw() of bfloat16 moments updates weights as with float32, and rounds moments to a neighbour",
  withRandom((random) => {
    for (const n of [1, 7, 33, 9001]) {
      const state = bfloat16State(n, random);
      const expected = bitsOf(widened(state), STEP);
      onEveryDevice((device) => {
        for (const shift of [0, 1]) {
          const actual = run(device, state, STEP, { shift });
          assertSameBits({ name: "w", actual: actual.w, expected: expected.w });
          liftsOf(actual.m, expected.m);
          liftsOf(actual.v, expected.v);
        }
      });
    }
  }),
);

Deno.test(
  "adamw() of bfloat16 moments gives every device the same bits, and another update others",
  withRandom((random) => {
    const state = bfloat16State(5000, random);
    using cpu = openCpu();
    const expected = run(cpu, state, STEP);
    onEveryDevice((device) => {
      for (const shift of [0, 1]) {
        const actual = run(device, state, STEP, { shift });
        for (const name of ["m", "v"] as const) {
          assertSameBits({ name, actual: actual[name], expected: expected[name] });
        }
      }
    });
    const exact = bitsOf(widened(state), STEP);
    const later = run(cpu, state, { ...STEP, step: STEP.step + 1 });
    const [a, b] = [liftsOf(expected.m, exact.m), liftsOf(later.m, exact.m)];
    const changed = a.filter((lift, i) => lift !== b[i]).length;
    assertGreater(changed, 5000 / 4);
  }),
);

Deno.test("adamw() of bfloat16 moments lifts as often as a value lies above its lower neighbour", () => {
  const n = 1 << 16, sigmas = 5;
  const ones = (value: number) => toBfloat16(new Float32Array(n).fill(value));
  for (const [m, v, g] of [[0.25, 0.01, 0.003], [-0.3, 2, 0.9], [1, 1e-4, -0.021]] as const) {
    const w = new Float32Array(n);
    const state = { w, g: w.slice().fill(g), m: ones(m), v: ones(v) };
    const exact = bitsOf(widened(state), { ...STEP, maxGradNorm: 0 });
    onEveryDevice((device) => {
      const lifts: Record<string, boolean[]> = {};
      const actual = run(device, state, { ...STEP, maxGradNorm: 0 });
      for (const name of ["m", "v"] as const) {
        const chance = (new Uint32Array(exact[name].buffer)[0]! & 0xffff) / 2 ** 16;
        lifts[name] = liftsOf(actual[name], exact[name]);
        const share = lifts[name].filter(Boolean).length / n;
        const deviation = Math.sqrt(chance * (1 - chance) / n);
        assertLess(Math.abs(share - chance), sigmas * deviation + 1 / n, `${name} of ${m}, ${v}`);
        // Neighbours do not lift together.
        const pairs = lifts[name].filter((lift, i) => lift && lifts[name]![(i + 1) % n]).length / n;
        assertLess(Math.abs(pairs - share ** 2), sigmas * Math.sqrt(share ** 2 / n) + 1 / n);
      }
      const share = (name: string) => lifts[name]!.filter(Boolean).length / n;
      const both = lifts.m!.filter((lift, i) => lift && lifts.v![i]).length / n;
      const independent = share("m") * share("v");
      assertLess(Math.abs(both - independent), sigmas * Math.sqrt(independent / n) + 1 / n);
    });
  }
});

Deno.test("adamw() of bfloat16 moments lifts one element as often over many updates", () => {
  const state = {
    w: new Float32Array(2),
    g: Float32Array.of(0.003, 0.003),
    m: toBfloat16([0.25, 0.25]),
    v: toBfloat16([0.01, 0.01]),
  };
  const step = { ...STEP, maxGradNorm: 0, beta1: 0.9, beta2: 0.95 };
  const exact = bitsOf(widened(state), step);
  const chance = (new Uint32Array(exact.v.buffer)[1]! & 0xffff) / 2 ** 16;
  using device = openCpu();
  const updates = 4000;
  let lifted = 0;
  for (let update = 1; update <= updates; update++) {
    if (liftsOf(run(device, state, { ...step, step: update }).v, exact.v)[1]) lifted++;
  }
  assertLess(
    Math.abs(lifted / updates - chance),
    5 * Math.sqrt(chance * (1 - chance) / updates),
  );
});

Deno.test("adamw() of bfloat16 moments lets v follow small squares that rounding to nearest would drop", () => {
  const n = 4096, updates = 300;
  const step = { ...STEP, beta2: 0.999, maxGradNorm: 0, lr: 0 };
  onEveryDevice((device) => {
    using memory = new GuardedMemory(device);
    const v = memory.inout("v", [n], toBfloat16(new Float32Array(n).fill(0.5)));
    const m = memory.inout("m", [n], new Uint16Array(n));
    const w = memory.inout("w", [n], new Float32Array(n));
    const g = memory.input("g", [n], new Float32Array(n).fill(1));
    const hyper = memory.input("hyper", [8], Float32Array.of(0, 0.9, 0.999, 1e-8, 0, 1, 1, 0));
    const gradNorm = memory.input("gradNorm", [1], Float32Array.of(1));
    const count = memory.inout("updates", [1], Int32Array.of(0));
    for (let update = 1; update <= updates; update++) {
      count.upload(Int32Array.of(update));
      adamw({ w, g, m, v, hyper, gradNorm, updates: count });
    }
    memory.check();
    const values = fromBfloat16(v.download(new Uint16Array(n)));
    const mean = values.reduce((sum, value) => sum + value, 0) / n;
    // 0.001 (1 - v) is below half of 2^-8, the distance of neighbours: to nearest, v would stay at 0.5.
    const expected = 1 - 0.5 * step.beta2 ** updates;
    assertLess(Math.abs(mean - expected), 2e-3, `v is ${mean} in the mean, not ${expected}`);
  });
});

Deno.test("adamw() of bfloat16 moments keeps the largest values finite and infinity infinite", () => {
  const hyper = { ...STEP, beta1: 0, beta2: 0, maxGradNorm: 0 };
  const largest = 3.4028234663852886e38;
  const state = {
    w: new Float32Array(512),
    g: new Float32Array(512).fill(1.8446742974197923e19), // its square is just below float32's largest
    m: new Uint16Array(512),
    v: new Uint16Array(512),
  };
  state.g[511] = 3e38; // its square is infinite
  onEveryDevice((device) => {
    const { v } = run(device, state, hyper);
    const values = fromBfloat16(v);
    assertEquals(values.subarray(0, 511).every((value) => value <= largest && value > 3e38), true);
    assertEquals(values[511], Infinity);
  });
});

Deno.test(
  "adamw() of bfloat16 moments gives the same bits when threads differ",
  withRandom((random) => {
    const state = bfloat16State(20_011, random);
    assertSameForThreads((device) => ({ ...run(device, state, STEP) }));
  }),
);

Deno.test(
  "adamw() refuses bfloat16 moments when the number of the update is not given",
  withRandom((random) => {
    onEveryDevice((device) => {
      const { w, g, m, v } = bfloat16State(2, random);
      using memory = new GuardedMemory(device);
      const error = assertThrows(
        () =>
          adamw({
            w: memory.inout("w", [2], w),
            g: memory.input("g", [2], g),
            m: memory.inout("m", [2], m),
            v: memory.inout("v", [2], v),
            hyper: memory.input("hyper", [8], new Float32Array(8).fill(1)),
            gradNorm: memory.input("gradNorm", [1], Float32Array.of(1)),
          }),
        NativeError,
        "updates must be given",
      );
      assertEquals(error.status, "invalid argument");
    });
  }),
);
