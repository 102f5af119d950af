import { assertEquals, assertThrows } from "@std/assert";
import type { Device } from "../../../lib/ffi/device.ts";
import { NativeError } from "../../../lib/ffi/errors.ts";
import { headLoss } from "../../../lib/kernels/head_loss.ts";
import { assertAsGoodAsPlain, assertClose, largestMagnitude } from "../../support/compare.ts";
import { assertSameForThreads, onEveryDevice, openCpu } from "../../support/devices.ts";
import { assertGradient } from "../../support/gradient_check.ts";
import { type Random, withRandom } from "../../support/random.ts";
import { single } from "../../support/round.ts";
import { GuardedMemory } from "../../support/sentinel.ts";
import { headLoss as reference } from "./reference.ts";

interface Case {
  N: number;
  D: number;
  V: number;
  /** Rows whose logits fit the workspace. */
  chunk: number;
}

const CASES: readonly Case[] = [
  { N: 1, D: 1, V: 1, chunk: 1 },
  { N: 3, D: 2, V: 5, chunk: 1 },
  { N: 17, D: 33, V: 101, chunk: 4 },
  { N: 29, D: 20, V: 67, chunk: 29 },
  { N: 8, D: 64, V: 257, chunk: 7 },
];

const GRAD_SCALE = Math.fround(0.125);

function inputsOf({ N, D, V }: Case, random: Random) {
  return {
    x: random.normals(N * D),
    head: random.normals(V * D, 0.5),
    targets: random.int32s(N, 0, V - 1),
    D,
    V,
  };
}

type Inputs = ReturnType<typeof inputsOf>;

function run(
  device: Device,
  { N, D, V, chunk }: Case,
  inputs: Inputs,
  options: { gradients?: boolean; dhead?: Float32Array<ArrayBuffer> } = {},
) {
  const { gradients = true } = options;
  using memory = new GuardedMemory(device);
  const loss = memory.output("loss", "float32", [N]);
  const dx = memory.output("dx", "float32", [N, D]);
  const dhead = memory.inout("dhead", [V, D], options.dhead ?? new Float32Array(V * D));
  headLoss({
    x: memory.input("x", [N, D], inputs.x),
    head: memory.input("head", [V, D], inputs.head),
    targets: memory.input("targets", [N], inputs.targets),
    loss,
    dx: gradients ? dx : null,
    dhead: gradients ? dhead : null,
    gradScale: GRAD_SCALE,
    workspace: memory.output("workspace", "float32", [chunk, V]),
  });
  memory.check();
  return {
    loss: loss.toFloat32Array(),
    dx: dx.toFloat32Array(),
    dhead: dhead.toFloat32Array(),
  };
}

Deno.test(
  "headLoss() agrees with the definition, loss and gradients, at awkward shapes and chunks",
  withRandom((random) => {
    for (const shape of CASES) {
      const inputs = inputsOf(shape, random);
      const expected = reference(inputs, GRAD_SCALE);
      const plain = reference(inputs, GRAD_SCALE, single);
      onEveryDevice((device) => {
        const actual = run(device, shape, inputs);
        for (const name of ["loss", "dx", "dhead"] as const) {
          assertAsGoodAsPlain({
            name: `${name} of ${JSON.stringify(shape)}`,
            actual: actual[name],
            expected: expected[name],
            plain: plain[name],
            magnitude: Math.max(1, largestMagnitude(expected[name])), // logits are of the size of the loss
            floor: 16 * 2 ** -24,
          });
        }
      });
    }
  }),
);

Deno.test(
  "headLoss() gives the gradient that finite differences of the definition give",
  withRandom((random) => {
    const shape = { N: 5, D: 7, V: 11, chunk: 2 };
    const inputs = inputsOf(shape, random);
    inputs.targets[2] = -100;
    using device = openCpu();
    const gradients = run(device, shape, inputs);
    for (const name of ["x", "head"] as const) {
      assertGradient({
        name,
        loss: (moved) =>
          GRAD_SCALE * reference({ ...inputs, [name]: moved }).loss.reduce((a, b) => a + b, 0),
        at: Float64Array.from(inputs[name]),
        gradient: gradients[`d${name}`],
        random,
        tolerance: 1e-5,
      });
    }
  }),
);

Deno.test(
  "headLoss() gives ignored rows no loss and no gradient",
  withRandom((random) => {
    const shape = { N: 6, D: 5, V: 9, chunk: 4 };
    const inputs = inputsOf(shape, random);
    inputs.targets.set([-1, -100], 2);
    onEveryDevice((device) => {
      const { loss, dx, dhead } = run(device, shape, inputs);
      assertEquals([loss[2], loss[3]], [0, 0]);
      assertEquals([...dx.subarray(10, 20)].map(Math.abs), Array(10).fill(0));
      const { dhead: expected } = reference(inputs, GRAD_SCALE);
      assertClose({ name: "dhead", actual: dhead, expected, absolute: 1e-6 });
    });
  }),
);

Deno.test(
  "headLoss() adds to dhead",
  withRandom((random) => {
    const shape = { N: 6, D: 5, V: 9, chunk: 4 };
    const inputs = inputsOf(shape, random);
    const before = random.normals(45);
    onEveryDevice((device) => {
      const { dhead } = run(device, shape, inputs, { dhead: before });
      const expected = reference(inputs, GRAD_SCALE).dhead.map((value, i) => value + before[i]!);
      assertClose({ name: "dhead", actual: dhead, expected, absolute: 1e-6 });
    });
  }),
);

Deno.test(
  "headLoss() gives the same losses when no gradient is asked for",
  withRandom((random) => {
    const shape = { N: 11, D: 12, V: 50, chunk: 3 };
    const inputs = inputsOf(shape, random);
    using device = openCpu();
    const alone = run(device, shape, inputs, { gradients: false });
    const { loss } = run(device, shape, inputs);
    assertEquals([...alone.loss], [...loss]);
  }),
);

Deno.test(
  "headLoss() stays finite when logits reach thousands",
  withRandom((random) => {
    const shape = { N: 4, D: 3, V: 20, chunk: 4 };
    const inputs = inputsOf(shape, random);
    inputs.x.forEach((value, i) => inputs.x[i] = 3000 * value);
    const expected = reference(inputs, GRAD_SCALE).loss;
    onEveryDevice((device) => {
      const { loss } = run(device, shape, inputs);
      assertClose({ name: "loss", actual: loss, expected, relative: 1e-5, absolute: 1e-2 });
    });
  }),
);

Deno.test(
  "headLoss() shows a NaN in the loss of its row alone",
  withRandom((random) => {
    const shape = { N: 3, D: 5, V: 40, chunk: 3 };
    const inputs = inputsOf(shape, random);
    inputs.x[7] = NaN;
    onEveryDevice((device) => {
      const { loss } = run(device, shape, inputs);
      assertEquals([...loss].map(Number.isNaN), [false, true, false]);
    });
  }),
);

Deno.test(
  "headLoss() gives the same bits when threads differ",
  withRandom((random) => {
    const shape = { N: 70, D: 40, V: 300, chunk: 32 };
    const inputs = inputsOf(shape, random);
    assertSameForThreads((device) => run(device, shape, inputs));
  }),
);

Deno.test(
  "headLoss() refuses and writes nothing when a target lies outside the vocabulary",
  withRandom((random) => {
    const shape = { N: 4, D: 3, V: 6, chunk: 1 };
    const inputs = inputsOf(shape, random);
    inputs.targets[3] = 6;
    using device = openCpu();
    using memory = new GuardedMemory(device);
    const loss = memory.inout("loss", [4], new Float32Array(4).fill(7));
    assertThrows(
      () =>
        headLoss({
          x: memory.input("x", [4, 3], inputs.x),
          head: memory.input("head", [6, 3], inputs.head),
          targets: memory.input("targets", [4], inputs.targets),
          loss,
          workspace: memory.output("workspace", "float32", [6]),
        }),
      NativeError,
      "current value at 3 is 6",
    );
    assertEquals([...loss.toFloat32Array()], [7, 7, 7, 7]);
  }),
);

Deno.test(
  "headLoss() refuses when the workspace is smaller than a row of logits",
  withRandom((random) => {
    const shape = { N: 2, D: 3, V: 6, chunk: 5 / 6 };
    using device = openCpu();
    assertThrows(() => run(device, shape, inputsOf(shape, random)), NativeError, "24 bytes");
  }),
);
