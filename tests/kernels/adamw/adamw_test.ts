import { assertEquals, assertThrows } from "@std/assert";
import type { Device } from "../../../lib/ffi/device.ts";
import { NativeError } from "../../../lib/ffi/errors.ts";
import { adamw } from "../../../lib/kernels/adamw.ts";
import { assertAsGoodAsPlain, assertSameBits } from "../../support/compare.ts";
import { assertSameForThreads, onEveryDevice, openCpu } from "../../support/devices.ts";
import { type Random, withRandom } from "../../support/random.ts";
import { exact, type Round, single } from "../../support/round.ts";
import { GuardedMemory } from "../../support/sentinel.ts";

const LENGTHS = [1, 7, 15, 17, 33, 9001];

interface Step {
  lr: number;
  beta1: number;
  beta2: number;
  eps: number;
  weightDecay: number;
  step: number;
  maxGradNorm: number;
  gradNorm: number;
}

const STEP: Step = {
  lr: 3e-3,
  beta1: 0.9,
  beta2: 0.95,
  eps: 1e-8,
  weightDecay: 0.1,
  step: 3,
  maxGradNorm: 1,
  gradNorm: 4,
};

type State = Record<"w" | "g" | "m" | "v", Float32Array<ArrayBuffer>>;

function stateOf(n: number, random: Random): State {
  return {
    w: random.normals(n, 0.02),
    g: random.normals(n),
    m: random.normals(n, 0.1),
    v: random.normals(n, 0.1).map((value) => value * value),
  };
}

function hyperOf(step: Step): Float32Array<ArrayBuffer> {
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

function run(device: Device, state: State, step: Step) {
  const n = state.w.length;
  using memory = new GuardedMemory(device);
  const w = memory.inout("w", [n], state.w);
  const m = memory.inout("m", [n], state.m);
  const v = memory.inout("v", [n], state.v);
  adamw({
    w,
    g: memory.input("g", [n], state.g),
    m,
    v,
    hyper: memory.input("hyper", [8], hyperOf(step)),
    gradNorm: memory.input("gradNorm", [1], Float32Array.of(step.gradNorm)),
  });
  memory.check();
  return { w: w.toFloat32Array(), m: m.toFloat32Array(), v: v.toFloat32Array() };
}

/** arXiv:1711.05101, algorithm 2, with decay scaled by the learning rate, after clipping by the global norm. */
function reference(state: State, step: Step, round: Round) {
  const [lr, b1, b2, eps, decay, c1, c2, max] = hyperOf(step) as unknown as number[];
  const clip = max! > 0 ? Math.min(1, max! / step.gradNorm) : 1;
  const w: number[] = [], m: number[] = [], v: number[] = [];
  state.w.forEach((weight, i) => {
    const g = round(state.g[i]! * round(clip));
    m.push(round(round(b1! * state.m[i]!) + round(round(1 - b1!) * g)));
    v.push(round(round(b2! * state.v[i]!) + round(round(1 - b2!) * round(g * g))));
    const denominator = round(round(Math.sqrt(round(v[i]! / c2!))) + eps!);
    const update = round(round(lr! * round(m[i]! / c1!)) / denominator);
    w.push(round(round(weight * round(1 - round(lr! * decay!))) - update));
  });
  return { w, m, v };
}

function assertAgrees(state: State, step: Step): void {
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
    const expected = Array.from(state.g, (g) => -Math.sign(g) * STEP.lr);
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
