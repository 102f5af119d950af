import { assertEquals, assertThrows } from "@std/assert";
import { NativeError } from "../../../lib/ffi/errors.ts";
import { fromBfloat16, toBfloat16 } from "../../support/bfloat16.ts";
import { assertAsGoodAsPlain, assertSameBits, largestMagnitude } from "../../support/compare.ts";
import { assertSameForThreads, onEveryDevice, openCpu } from "../../support/devices.ts";
import { withRandom } from "../../support/random.ts";
import { exact, single } from "../../support/round.ts";
import {
  bitsOf,
  type Float32State,
  reference,
  run,
  type State,
  stateOf,
  STEP,
  type Step,
} from "./reference.ts";

const LENGTHS = [1, 7, 15, 17, 33, 9001];

function assertAgrees(state: Float32State, step: Step): void {
  const expected = reference(state, step, exact);
  const plain = reference(state, step, single);
  onEveryDevice((device) => {
    const actual = run(device, state, step);
    for (const name of ["w", "m", "v"] as const) {
      assertAsGoodAsPlain({
        name: `${name} of ${state.w.length}`,
        actual: actual[name],
        expected: expected[name],
        plain: plain[name],
        // A weight and its update can cancel, and so can a moment and its gradient.
        magnitude: Math.max(largestMagnitude(state[name]), largestMagnitude(expected[name])),
        floor: 16 * 2 ** -24, // an update is a dozen roundings, and may be larger than what it leaves
      });
    }
  });
}

Deno.test(
  "adamw() agrees with the algorithm at awkward lengths",
  withRandom((random) => {
    for (const n of LENGTHS) assertAgrees(stateOf(n, random), STEP);
  }),
);

Deno.test(
  "adamw() leaves gradients unscaled when their norm is below the maximum, or the maximum is 0",
  withRandom((random) => {
    const state = stateOf(50, random);
    assertAgrees(state, { ...STEP, gradNorm: 0.5 });
    assertAgrees(state, { ...STEP, gradNorm: 0 });
    assertAgrees(state, { ...STEP, maxGradNorm: 0 });
  }),
);

Deno.test(
  "adamw() gives the bits of its contract's operations, on aligned addresses and others",
  withRandom((random) => {
    for (const n of LENGTHS) {
      const state = stateOf(n, random);
      const expected = bitsOf(state, STEP);
      onEveryDevice((device) => {
        for (const shift of [0, 1]) {
          const actual = run(device, state, STEP, { shift });
          for (const name of ["w", "m", "v"] as const) {
            assertSameBits({ name, actual: actual[name], expected: expected[name] });
          }
        }
      });
    }
  }),
);

Deno.test(
  "adamw() takes gradients in bfloat16 for what they stand for",
  withRandom((random) => {
    for (const n of LENGTHS) {
      const float32 = stateOf(n, random);
      const g = toBfloat16(float32.g);
      const expected = bitsOf({ ...float32, g: fromBfloat16(g) }, STEP);
      const state: State = { ...float32, g };
      onEveryDevice((device) => {
        for (const shift of [0, 1]) {
          const actual = run(device, state, STEP, { shift });
          for (const name of ["w", "m", "v"] as const) {
            assertSameBits({ name, actual: actual[name], expected: expected[name] });
          }
        }
      });
    }
  }),
);

Deno.test(
  "adamw() moves every weight by the learning rate in its first step",
  withRandom((random) => {
    const n = 100;
    const state = {
      ...stateOf(n, random),
      w: new Float32Array(n),
      m: new Float32Array(n),
      v: new Float32Array(n),
    };
    using device = openCpu();
    const { w } = run(device, state, { ...STEP, step: 1, maxGradNorm: 0 });
    // m / c1 is g and sqrt(v / c2) its magnitude; only a g that is tiny itself feels eps.
    const expected = Array.from(state.g, (g) => -STEP.lr * g / (Math.abs(g) + STEP.eps));
    assertAsGoodAsPlain({ name: "w", actual: w, expected, plain: expected, floor: 1e-4 });
  }),
);

for (const gradNorm of [NaN, Infinity]) {
  Deno.test(
    `adamw() leaves weights and moments untouched when the norm is ${gradNorm}`,
    withRandom((random) => {
      const state = stateOf(100, random);
      state.g[7] = NaN;
      onEveryDevice((device) => {
        const actual = run(device, state, { ...STEP, gradNorm });
        for (const name of ["w", "m", "v"] as const) {
          assertSameBits({ name, actual: actual[name], expected: state[name] });
        }
      });
    }),
  );
}

Deno.test(
  "adamw() gives the same bits when threads differ",
  withRandom((random) => {
    const state = stateOf(20_011, random);
    assertSameForThreads((device) => run(device, state, STEP));
  }),
);

Deno.test(
  "adamw() refuses when the bias correction is that of step 0",
  withRandom((random) => {
    using device = openCpu();
    const error = assertThrows(
      () => run(device, stateOf(2, random), { ...STEP, step: 0 }),
      NativeError,
      "bias corrections",
    );
    assertEquals(error.status, "invalid argument");
  }),
);
