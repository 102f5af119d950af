/** The gated norm on the card: rows of every length that its kernels tell apart, activations of both dtypes. */

import type { Device } from "../../../lib/ffi/device.ts";
import { gluNormBackward, gluNormForward } from "../../../lib/kernels/glu_norm.ts";
import type { GateName } from "../../../lib/kernels/quantizer.ts";
import {
  type Activation,
  ACTIVATIONS,
  assertActivation,
  normalsOf,
  stored,
} from "../../support/activation.ts";
import { assertClose, assertSameBits, largestMagnitude } from "../../support/compare.ts";
import { cudaTest } from "../../support/devices.ts";
import type { Random } from "../../support/random.ts";
import { single } from "../../support/round.ts";
import { floatsOf, GuardedMemory, int8sOf } from "../../support/sentinel.ts";
import { gluNorm, gluNormGradients } from "./reference.ts";

// A row lies in groups of 16 bytes, 1 to 3 of them in each of 128, 256 or 512 threads: both sides of each edge, in bfloat16.
const SHAPES = [
  { N: 5, F: 768 },
  { N: 37, F: 1032 },
  { N: 3, F: 2048 },
  { N: 3, F: 2560 },
  { N: 3, F: 3080 },
  { N: 2, F: 4104 },
  { N: 3, F: 5632 },
  { N: 2, F: 8192 },
  { N: 2, F: 8200 },
  { N: 2, F: 11264 },
  { N: 1, F: 11272 },
  { N: 37, F: 1028 },
  { N: 1, F: 16388 },
  { N: 3, F: 4097 },
  { N: 17_001, F: 12 },
  { N: 17_003, F: 16 },
];

interface Shape {
  N: number;
  F: number;
}

interface Kind {
  act: GateName;
  dtype: Activation;
}

function inputsOf({ N, F }: Shape, { act, dtype }: Kind, random: Random) {
  return {
    gateUp: normalsOf(random, 2 * N * F, { std: 2, dtype }),
    act,
    weight: random.normals(F).map((value) => 1 + 0.3 * value),
    eps: Math.fround(1e-5),
    dy: normalsOf(random, N * F, { dtype }),
  };
}

type Inputs = ReturnType<typeof inputsOf>;

function runForward(device: Device, { N, F }: Shape, inputs: Inputs, dtype: Activation) {
  using memory = new GuardedMemory(device);
  const q = memory.output("q", "int8", [N, F]);
  const scale = memory.output("scale", "float32", [N]);
  const y = memory.output("y", dtype, [N, F]);
  const rstd = memory.output("rstd", "float32", [N]);
  gluNormForward({
    gateUp: memory.input("gateUp", [N, 2 * F], stored(inputs.gateUp, dtype)),
    act: inputs.act,
    weight: memory.input("weight", [F], inputs.weight),
    eps: inputs.eps,
    quantizer: "absmax",
    q,
    scale,
    y,
    rstd,
  });
  memory.check();
  return {
    q: int8sOf(q),
    scale: scale.toFloat32Array(),
    y: floatsOf(y),
    rstd: rstd.toFloat32Array(),
  };
}

function runBackward(
  device: Device,
  { N, F }: Shape,
  inputs: Inputs,
  options: { dtype: Activation; rstd: Float32Array<ArrayBuffer> },
) {
  const { dtype, rstd } = options;
  using memory = new GuardedMemory(device);
  const dgateUp = memory.output("dgateUp", dtype, [N, 2 * F]);
  const dweight = memory.inout("dweight", [F], new Float32Array(F));
  gluNormBackward({
    dy: memory.input("dy", [N, F], stored(inputs.dy, dtype)),
    gateUp: memory.input("gateUp", [N, 2 * F], stored(inputs.gateUp, dtype)),
    act: inputs.act,
    weight: memory.input("weight", [F], inputs.weight),
    rstd: memory.input("rstd", [N], rstd),
    dgateUp,
    dweight,
  });
  memory.check();
  return { dgateUp: floatsOf(dgateUp), dweight: dweight.toFloat32Array() };
}

for (const dtype of ACTIVATIONS) {
  for (const act of ["silu", "relu2"] as const) {
    const kind = { act, dtype };
    const named = `of ${dtype} ${act}`;

    cudaTest(`gluNormForward() ${named} agrees with the definition`, (device, random) => {
      for (const shape of SHAPES) {
        const inputs = inputsOf(shape, kind, random);
        const expected = gluNorm(inputs);
        const plain = gluNorm(inputs, single);
        const actual = runForward(device, shape, inputs, dtype);
        const at = JSON.stringify(shape);
        assertActivation({
          name: `y of ${at}`,
          actual: actual.y,
          expected: expected.y,
          plain: plain.y,
          dtype,
        });
        assertClose({
          name: `rstd of ${at}`,
          actual: actual.rstd,
          expected: expected.rstd,
          relative: 1e-5,
        });
        for (let row = 0; row < shape.N; row++) {
          const from = row * shape.F, to = from + shape.F;
          const values = expected.y.subarray(from, to);
          const scale = Math.max(largestMagnitude(values), 1e-5) / 127; // relu2 may leave a row of zeros
          assertClose({
            name: `q of ${at}, row ${row}`,
            actual: actual.q.subarray(from, to),
            expected: values.map((value) => value / scale),
            absolute: 0.501,
          });
          assertClose({
            name: `scale of ${at}`,
            actual: [actual.scale[row]!],
            expected: [scale],
            relative: 1e-5,
          });
        }
      }
    });

    cudaTest(`gluNormBackward() ${named} agrees with the chain rule`, (device, random) => {
      for (const shape of SHAPES) {
        const inputs = inputsOf(shape, kind, random);
        const rstd = Float32Array.from(gluNorm(inputs).rstd);
        const expected = gluNormGradients(inputs, inputs.dy);
        const plain = gluNormGradients(inputs, inputs.dy, single);
        const actual = runBackward(device, shape, inputs, { dtype, rstd });
        assertActivation({
          name: `dgateUp of ${JSON.stringify(shape)}`,
          actual: actual.dgateUp,
          expected: expected.dgateUp,
          plain: plain.dgateUp,
          dtype,
          magnitude: largestMagnitude(expected.direct),
        });
        assertActivation({
          name: `dweight of ${JSON.stringify(shape)}`,
          actual: actual.dweight,
          expected: expected.dweight,
          plain: plain.dweight,
          dtype: "float32",
          floor: dtype === "bfloat16" ? 2 ** -18 : 16 * 2 ** -24, // its exp is the fast one
        });
      }
    });
  }
}

cudaTest("gluNorm gives the same bits when it is run again", (device, random) => {
  const shape = { N: 3001, F: 772 };
  const inputs = inputsOf(shape, { act: "silu", dtype: "bfloat16" }, random);
  const run = () => {
    const forward = runForward(device, shape, inputs, "bfloat16");
    const options = { dtype: "bfloat16", rstd: forward.rstd } as const;
    return { ...forward, ...runBackward(device, shape, inputs, options) };
  };
  const first = run(), second = run();
  for (const name of ["q", "scale", "y", "rstd", "dgateUp", "dweight"] as const) {
    assertSameBits({ name, actual: second[name], expected: first[name] });
  }
});
