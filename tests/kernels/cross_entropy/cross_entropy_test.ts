import { assertEquals, assertThrows } from "@std/assert";
import type { Device } from "../../../lib/ffi/device.ts";
import { NativeError } from "../../../lib/ffi/errors.ts";
import { crossEntropy } from "../../../lib/kernels/cross_entropy.ts";
import { type Activation, ACTIVATIONS } from "../../support/activation.ts";
import { assertClose, largestMagnitude } from "../../support/compare.ts";
import {
  assertSameForThreads,
  cudaTest,
  onEveryDevice,
  onEveryIsa,
  openCpu,
} from "../../support/devices.ts";
import { assertGradient } from "../../support/gradient_check.ts";
import { type Random, withRandom } from "../../support/random.ts";
import { floatsOf, GuardedMemory } from "../../support/sentinel.ts";
import { crossEntropy as reference } from "./reference.ts";

/** Rows, columns, smoothing and the teacher's weight. */
const CASES = [
  [1, 1, 0, 0],
  [3, 5, 0, 0],
  [17, 101, 0.25, 0],
  [6, 64, 0, 0.5],
  [5, 257, 0.125, 0.25],
  [4, 33, 1, 0],
  [4, 70, 0, 1],
  [2, 2051, 0.1, 0.75],
] as const;

const GRAD_SCALE = Math.fround(0.125);

function inputsOf([N, V, smoothing, teacherWeight]: typeof CASES[number], random: Random) {
  return {
    logits: random.normals(N * V, 2),
    targets: random.int32s(N, 0, V - 1),
    teacher: teacherWeight === 0 ? null : random.normals(N * V, 2),
    smoothing,
    teacherWeight,
    V,
  };
}

function run(
  device: Device,
  inputs: ReturnType<typeof inputsOf>,
  options: { gradient?: "apart" | "in place" | "none"; dtype?: Activation } = {},
) {
  const { gradient = "apart", dtype = "float32" } = options;
  const { V, smoothing, teacherWeight } = inputs;
  const N = inputs.targets.length;
  using memory = new GuardedMemory(device);
  const shape = [N, V];
  const logits = gradient === "in place"
    ? memory.inout("logits", shape, inputs.logits)
    : memory.input("logits", shape, inputs.logits);
  const loss = memory.output("loss", "float32", [N]);
  const dlogits = gradient === "in place" ? logits : memory.output("dlogits", dtype, shape);
  crossEntropy({
    logits,
    targets: memory.input("targets", [N], inputs.targets),
    loss,
    dlogits: gradient === "none" ? null : dlogits,
    gradScale: GRAD_SCALE,
    smoothing,
    teacher: inputs.teacher === null ? null : memory.input("teacher", shape, inputs.teacher),
    teacherWeight,
  });
  memory.check();
  return { loss: loss.toFloat32Array(), dlogits: floatsOf(dlogits) };
}

Deno.test(
  "crossEntropy() agrees with the definition, loss and gradient, apart and in place",
  withRandom((random) => {
    for (const shape of CASES) {
      const inputs = inputsOf(shape, random);
      const expected = reference(inputs, GRAD_SCALE);
      onEveryDevice((device) => {
        for (const gradient of ["apart", "in place"] as const) {
          const actual = run(device, inputs, { gradient });
          for (const name of ["loss", "dlogits"] as const) {
            assertClose({
              name: `${name} ${gradient} of ${shape}`,
              actual: actual[name],
              expected: expected[name],
              absolute: 2 ** -20 * Math.max(GRAD_SCALE, largestMagnitude(expected[name])),
            });
          }
        }
      });
    }
  }),
);

Deno.test(
  "crossEntropy() gives the gradient that finite differences of the definition give",
  withRandom((random) => {
    const inputs = inputsOf([5, 257, 0.125, 0.25], random);
    inputs.targets[2] = -100;
    using device = openCpu();
    assertGradient({
      name: "logits",
      loss: (moved) =>
        GRAD_SCALE * reference({ ...inputs, logits: moved }, 1).loss.reduce((a, b) => a + b, 0),
      at: Float64Array.from(inputs.logits),
      gradient: run(device, inputs).dlogits,
      random,
      tolerance: 1e-5,
    });
  }),
);

Deno.test(
  "crossEntropy() gives ignored rows no loss and no gradient, and the same losses without a gradient",
  withRandom((random) => {
    const inputs = inputsOf([5, 257, 0.125, 0.25], random);
    inputs.targets.set([-1, -100], 2);
    onEveryDevice((device) => {
      const { loss, dlogits } = run(device, inputs);
      assertEquals([loss[2], loss[3]], [0, 0]);
      assertEquals(dlogits.subarray(2 * 257, 4 * 257).some((value) => value !== 0), false);
      assertEquals(run(device, inputs, { gradient: "none" }).loss, loss);
    });
  }),
);

Deno.test(
  "crossEntropy() stays finite when logits reach thousands, and shows a NaN in its row alone",
  withRandom((random) => {
    const inputs = inputsOf([5, 257, 0.125, 0.25], random);
    inputs.logits.forEach((value, i) => inputs.logits[i] = 3000 * value);
    const expected = reference(inputs, GRAD_SCALE).loss;
    onEveryDevice((device) => {
      const { loss } = run(device, inputs);
      assertClose({ name: "loss", actual: loss, expected, relative: 1e-5 });
    });
    inputs.logits[300] = NaN;
    onEveryDevice((device) => {
      const { loss } = run(device, inputs);
      assertEquals([...loss].map(Number.isNaN), [false, true, false, false, false]);
    });
  }),
);

Deno.test(
  "crossEntropy() gives the same bits when threads differ",
  withRandom((random) => {
    const inputs = inputsOf([70, 300, 0.125, 0.25] as never, random);
    assertSameForThreads((device) => run(device, inputs));
  }),
);

Deno.test(
  "crossEntropy() refuses and writes nothing when a target or a weight is out of bounds",
  withRandom((random) => {
    for (
      const [change, message] of [
        [{ targets: Int32Array.of(0, 1, 6) }, "current value at 2 is 6"],
        [{ smoothing: 1.5 }, "current values are 1.5 and 0"],
        [{ teacherWeight: 0.5 }, "current value is 0.5 without one"],
      ] as const
    ) {
      const inputs = { ...inputsOf([3, 5, 0, 0], random), ...change } as never;
      onEveryIsa((device) => assertThrows(() => run(device, inputs), NativeError, message));
    }
  }),
);

for (const dtype of ACTIVATIONS) {
  cudaTest(
    `crossEntropy() with dlogits of ${dtype} agrees with the definition`,
    (device, random) => {
      for (const shape of CASES) {
        const inputs = inputsOf(shape, random);
        inputs.targets[0] = -1;
        const expected = reference(inputs, GRAD_SCALE);
        const actual = run(device, inputs, { dtype });
        assertClose({
          name: `dlogits of ${shape}`,
          actual: actual.dlogits,
          expected: expected.dlogits,
          absolute: (dtype === "bfloat16" ? 2 ** -9 : 2 ** -20) *
            Math.max(GRAD_SCALE, largestMagnitude(expected.dlogits)),
        });
      }
    },
  );
}

cudaTest(
  "crossEntropy() shows a target that the vocabulary lacks as NaN in its row",
  (device, random) => {
    const inputs = inputsOf([3, 5, 0, 0], random);
    inputs.targets[1] = 5;
    const { loss, dlogits } = run(device, inputs);
    assertEquals([...loss].map(Number.isNaN), [false, true, false]);
    assertEquals(
      [...dlogits].map(Number.isNaN),
      Array.from({ length: 15 }, (_, i) => i >= 5 && i < 10),
    );
  },
);
