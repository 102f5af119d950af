/** RMSNorm on the card: rows of every length that its kernels tell apart, activations of both dtypes. */

import type { Device } from "../../../lib/ffi/device.ts";
import { rmsnormBackward, rmsnormForward } from "../../../lib/kernels/rmsnorm.ts";
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
import { rmsnorm, rmsnormGradients } from "./reference.ts";

/** Around the widths where the kernels change, and more rows than blocks of the weight gradient. */
const CARD_SHAPES = [
  { N: 5, D: 768 },
  { N: 37, D: 1028 },
  { N: 3, D: 2048 },
  { N: 2, D: 3200 },
  { N: 3, D: 5632 },
  { N: 2, D: 8196 },
  { N: 2, D: 12288 },
  { N: 1, D: 12292 },
  { N: 1, D: 16384 },
  { N: 1, D: 16388 },
  { N: 2, D: 20002 },
  { N: 17_001, D: 12 },
];

interface Shape {
  N: number;
  D: number;
}

interface Dtypes {
  x: Activation;
  out: Activation;
}

function inputsOf({ N, D }: Shape, dtypes: Dtypes, random: Random) {
  return {
    x: normalsOf(random, N * D, { std: 3, dtype: dtypes.x }),
    weight: random.normals(D).map((value) => 1 + 0.3 * value),
    eps: Math.fround(1e-5),
    dy: normalsOf(random, N * D, { dtype: dtypes.out }),
    dx: normalsOf(random, N * D, { dtype: dtypes.out }),
  };
}

type Inputs = ReturnType<typeof inputsOf>;

function runForward(device: Device, { N, D }: Shape, inputs: Inputs, dtypes: Dtypes) {
  using memory = new GuardedMemory(device);
  const q = memory.output("q", "int8", [N, D]);
  const scale = memory.output("scale", "float32", [N]);
  const y = memory.output("y", dtypes.out, [N, D]);
  const rstd = memory.output("rstd", "float32", [N]);
  const x = memory.input("x", [N, D], stored(inputs.x, dtypes.x));
  const weight = memory.input("weight", [D], inputs.weight);
  rmsnormForward({ x, weight, eps: inputs.eps, quantizer: "absmax", q, scale, y, rstd });
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
  { N, D }: Shape,
  inputs: Inputs,
  options: { dtypes: Dtypes; rstd: Float32Array<ArrayBuffer>; accumulate: boolean },
) {
  const { dtypes, rstd, accumulate } = options;
  using memory = new GuardedMemory(device);
  const dx = accumulate
    ? memory.inout("dx", [N, D], stored(inputs.dx, dtypes.out))
    : memory.output("dx", dtypes.out, [N, D]);
  const dweight = memory.inout("dweight", [D], new Float32Array(D));
  rmsnormBackward({
    dy: memory.input("dy", [N, D], stored(inputs.dy, dtypes.out)),
    x: memory.input("x", [N, D], stored(inputs.x, dtypes.x)),
    weight: memory.input("weight", [D], inputs.weight),
    rstd: memory.input("rstd", [N], rstd),
    dx,
    dweight,
    accumulate,
  });
  memory.check();
  return { dx: floatsOf(dx), dweight: dweight.toFloat32Array() };
}

for (const x of ACTIVATIONS) {
  for (const out of ACTIVATIONS) {
    const dtypes = { x, out };
    const named = `of ${x} to ${out}`;

    cudaTest(`rmsnormForward() ${named} agrees with the definition`, (device, random) => {
      for (const shape of CARD_SHAPES) {
        const inputs = inputsOf(shape, dtypes, random);
        const expected = rmsnorm(inputs);
        const plain = rmsnorm(inputs, single);
        const actual = runForward(device, shape, inputs, dtypes);
        const at = JSON.stringify(shape);
        assertActivation({
          name: `y of ${at}`,
          actual: actual.y,
          expected: expected.y,
          plain: plain.y,
          dtype: out,
        });
        assertActivation({
          name: `rstd of ${at}`,
          actual: actual.rstd,
          expected: expected.rstd,
          plain: plain.rstd,
          dtype: "float32",
        });
        for (let row = 0; row < shape.N; row++) {
          const from = row * shape.D, to = from + shape.D;
          const values = expected.y.subarray(from, to);
          const scale = largestMagnitude(values) / 127;
          assertClose({
            name: `q of ${at}, row ${row}`,
            actual: actual.q.subarray(from, to),
            expected: values.map((value) => value / scale),
            absolute: 0.5001,
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

    cudaTest(`rmsnormBackward() ${named} agrees with the chain rule`, (device, random) => {
      for (const shape of CARD_SHAPES) {
        const inputs = inputsOf(shape, dtypes, random);
        const rstd = Float32Array.from(rmsnorm(inputs).rstd);
        const expected = rmsnormGradients(inputs, inputs.dy);
        const plain = rmsnormGradients(inputs, inputs.dy, single);
        for (const accumulate of [false, true]) {
          const actual = runBackward(device, shape, inputs, { dtypes, rstd, accumulate });
          const at = `of ${JSON.stringify(shape)}${accumulate ? ", added" : ""}`;
          const before = (i: number) => accumulate ? inputs.dx[i]! : 0;
          const dx = expected.dx.map((value, i) => value + before(i));
          assertActivation({
            name: `dx ${at}`,
            actual: actual.dx,
            expected: dx,
            plain: plain.dx.map((value, i) => Math.fround(value + before(i))),
            dtype: out,
            magnitude: Math.max(largestMagnitude(expected.direct), largestMagnitude(dx)),
          });
          assertActivation({
            name: `dweight ${at}`,
            actual: actual.dweight,
            expected: expected.dweight,
            plain: plain.dweight,
            dtype: "float32",
          });
        }
      }
    });
  }
}

cudaTest("rmsnorm gives the same bits when it is run again", (device, random) => {
  const shape = { N: 3001, D: 772 };
  const dtypes = { x: "float32", out: "bfloat16" } as const;
  const inputs = inputsOf(shape, dtypes, random);
  const run = () => {
    const forward = runForward(device, shape, inputs, dtypes);
    const options = { dtypes, rstd: forward.rstd, accumulate: true };
    return { ...forward, ...runBackward(device, shape, inputs, options) };
  };
  const first = run(), second = run();
  for (const name of ["q", "scale", "y", "rstd", "dx", "dweight"] as const) {
    assertSameBits({ name, actual: second[name], expected: first[name] });
  }
});
