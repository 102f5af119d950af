/** The head and its loss on the card: bfloat16 operands, through cuBLAS and the project's own products, targets it lacks. */

import { assertEquals } from "@std/assert";
import type { Device } from "../../../lib/ffi/device.ts";
import { headLoss, headLossBytes } from "../../../lib/kernels/head_loss.ts";
import { type Activation, ACTIVATIONS, normalsOf, stored } from "../../support/activation.ts";
import { assertClose, assertSameBits, largestMagnitude } from "../../support/compare.ts";
import { cudaTest } from "../../support/devices.ts";
import type { Random } from "../../support/random.ts";
import { floatsOf, GuardedMemory } from "../../support/sentinel.ts";
import { headLoss as reference } from "./reference.ts";

interface Case {
  N: number;
  D: number;
  V: number;
  /** Rows whose logits fit the workspace. */
  chunk: number;
}

const CASES: readonly Case[] = [
  { N: 1, D: 8, V: 16, chunk: 1 },
  { N: 29, D: 64, V: 512, chunk: 29 },
  { N: 70, D: 72, V: 1000, chunk: 23 },
  { N: 13, D: 33, V: 101, chunk: 3 },
  { N: 300, D: 16, V: 264, chunk: 150 },
  { N: 9, D: 16, V: 9004, chunk: 4 }, // several rounds of a block over a row
  { N: 5, D: 16, V: 2051, chunk: 5 },
];

const GRAD_SCALE = Math.fround(0.125);

function inputsOf({ N, D, V }: Case, dtype: Activation, random: Random) {
  const targets = random.int32s(N, 0, V - 1);
  if (N > 4) targets[3] = -100;
  return {
    x: normalsOf(random, N * D, { dtype }),
    head: normalsOf(random, V * D, { std: 0.5, dtype }),
    targets,
    D,
    V,
  };
}

function run(
  device: Device,
  { N, D, V, chunk }: Case,
  inputs: ReturnType<typeof inputsOf>,
  options: { dtype: Activation; before?: number },
) {
  const { dtype, before = 0 } = options;
  using memory = new GuardedMemory(device);
  const loss = memory.output("loss", "float32", [N]);
  const dx = memory.output("dx", dtype, [N, D]);
  const dhead = memory.inout("dhead", [V, D], new Float32Array(V * D).fill(before));
  headLoss({
    x: memory.input("x", [N, D], stored(inputs.x, dtype)),
    head: memory.input("head", [V, D], stored(inputs.head, dtype)),
    targets: memory.input("targets", [N], inputs.targets),
    loss,
    dx,
    dhead,
    gradScale: GRAD_SCALE,
    workspace: memory.output("workspace", "uint8", [chunk * headLossBytes(V, dtype)]),
  });
  memory.check();
  return { loss: loss.toFloat32Array(), dx: floatsOf(dx), dhead: dhead.toFloat32Array() };
}

for (const dtype of ACTIVATIONS) {
  // In bfloat16 every dlogit is rounded: half an ulp of each term of the sums, and of dx. In float32 without cuBLAS dx is one sum
  // after another over up to 9,004 terms, each addition of which may be half an ulp off: by chance the root of their number, some 2^-17.5.
  const relative = dtype === "bfloat16" ? 2 ** -7 : 2 ** -16;
  cudaTest(
    `headLoss() of ${dtype} agrees with the definition and adds to dhead`,
    (device, random) => {
      for (const shape of CASES) {
        const inputs = inputsOf(shape, dtype, random);
        const expected = reference(inputs, GRAD_SCALE);
        const before = 0.5;
        const actual = run(device, shape, inputs, { dtype, before });
        const at = JSON.stringify(shape);
        assertClose({
          name: `loss of ${at}`,
          actual: actual.loss,
          expected: expected.loss,
          absolute: 1e-5 * Math.max(1, largestMagnitude(expected.loss)),
        });
        assertClose({
          name: `dx of ${at}`,
          actual: actual.dx,
          expected: expected.dx,
          absolute: relative * largestMagnitude(expected.dx),
        });
        assertClose({
          name: `dhead of ${at}`,
          actual: actual.dhead,
          expected: expected.dhead.map((value) => value + before),
          absolute: relative * largestMagnitude(expected.dhead) + 2 ** -22,
        });
      }
    },
    { products: true },
  );
}

cudaTest("headLoss() gives the same bits when it is run again", (device, random) => {
  const shape = { N: 301, D: 128, V: 4000, chunk: 140 };
  const inputs = inputsOf(shape, "bfloat16", random);
  const first = run(device, shape, inputs, { dtype: "bfloat16" });
  const second = run(device, shape, inputs, { dtype: "bfloat16" });
  for (const name of ["loss", "dx", "dhead"] as const) {
    assertSameBits({ name, actual: second[name], expected: first[name] });
  }
}, { products: true });

cudaTest(
  "headLoss() shows a target that the vocabulary lacks as NaN in its row",
  (device, random) => {
    const shape = { N: 4, D: 8, V: 16, chunk: 4 };
    const inputs = inputsOf(shape, "float32", random);
    inputs.targets[2] = 16;
    const { loss, dx } = run(device, shape, inputs, { dtype: "float32" });
    assertEquals([...loss].map(Number.isNaN), [false, false, true, false]);
    assertEquals(
      Array.from({ length: 4 }, (_, row) => dx.subarray(8 * row, 8 * row + 8).some(Number.isNaN)),
      [false, false, true, false],
    );
  },
);
