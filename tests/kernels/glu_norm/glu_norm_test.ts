import { assertEquals, assertThrows } from "@std/assert";
import type { Device } from "../../../lib/ffi/device.ts";
import { NativeError } from "../../../lib/ffi/errors.ts";
import { gluNormBackward, gluNormForward } from "../../../lib/kernels/glu_norm.ts";
import type { GateName, QuantizerName } from "../../../lib/kernels/quantizer.ts";
import { assertAsGoodAsPlain, assertSame, largestMagnitude } from "../../support/compare.ts";
import { assertSameForThreads, onEveryDevice, openCpu } from "../../support/devices.ts";
import { assertGradient } from "../../support/gradient_check.ts";
import { type Random, withRandom } from "../../support/random.ts";
import { single } from "../../support/round.ts";
import { GuardedMemory, int8sOf } from "../../support/sentinel.ts";
import { CASES } from "../rmsnorm/cases.ts";
import { absmax } from "../rmsnorm/reference.ts";
import { gluNorm, gluNormGradients } from "./reference.ts";

interface Case {
  N: number;
  F: number;
  act: GateName;
}

const GATED_CASES: readonly Case[] = CASES.flatMap(({ N, D }) => [
  { N, F: D, act: "silu" as const },
  { N, F: D, act: "relu2" as const },
]);

function inputsOf({ N, F, act }: Case, random: Random) {
  return {
    gateUp: random.normals(N * 2 * F, 2),
    act,
    weight: random.normals(F).map((value) => 1 + 0.3 * value),
    eps: Math.fround(1e-5),
    dy: random.normals(N * F),
  };
}

type Inputs = ReturnType<typeof inputsOf>;

function runForward(device: Device, { N, F, act }: Case, inputs: Inputs, quantizer: QuantizerName) {
  using memory = new GuardedMemory(device);
  const quantised = quantizer !== "none";
  const q = quantised ? memory.output("q", "int8", [N, F]) : null;
  const scale = quantised ? memory.output("scale", "float32", [N]) : null;
  const y = memory.output("y", "float32", [N, F]);
  const rstd = memory.output("rstd", "float32", [N]);
  gluNormForward({
    gateUp: memory.input("gateUp", [N, 2 * F], inputs.gateUp),
    act,
    weight: memory.input("weight", [F], inputs.weight),
    eps: inputs.eps,
    quantizer,
    q,
    scale,
    y,
    rstd,
  });
  memory.check();
  return {
    q: q ? int8sOf(q) : new Int8Array(),
    scale: scale ? scale.toFloat32Array() : new Float32Array(),
    y: y.toFloat32Array(),
    rstd: rstd.toFloat32Array(),
  };
}

function runBackward(device: Device, shape: Case, inputs: Inputs) {
  const { N, F, act } = shape;
  const { rstd } = runForward(device, shape, inputs, "none");
  using memory = new GuardedMemory(device);
  const dgateUp = memory.output("dgateUp", "float32", [N, 2 * F]);
  const dweight = memory.inout("dweight", [F], new Float32Array(F));
  gluNormBackward({
    dy: memory.input("dy", [N, F], inputs.dy),
    gateUp: memory.input("gateUp", [N, 2 * F], inputs.gateUp),
    act,
    weight: memory.input("weight", [F], inputs.weight),
    rstd: memory.input("rstd", [N], rstd),
    dgateUp,
    dweight,
  });
  memory.check();
  return { dgateUp: dgateUp.toFloat32Array(), dweight: dweight.toFloat32Array() };
}

Deno.test(
  "gluNormForward() agrees with the definition at awkward shapes",
  withRandom((random) => {
    for (const shape of GATED_CASES) {
      const inputs = inputsOf(shape, random);
      const expected = gluNorm(inputs);
      const plain = gluNorm(inputs, single);
      onEveryDevice((device) => {
        const actual = runForward(device, shape, inputs, "none");
        for (const name of ["y", "rstd"] as const) {
          assertAsGoodAsPlain({
            name: `${name} of ${JSON.stringify(shape)}`,
            actual: actual[name],
            expected: expected[name],
            plain: plain[name],
            floor: 8 * 2 ** -24,
          });
        }
      });
    }
  }),
);

Deno.test(
  "gluNormForward() gives exactly the absmax integers of its own values",
  withRandom((random) => {
    for (const shape of GATED_CASES) {
      const inputs = inputsOf(shape, random);
      onEveryDevice((device) => {
        const { q, scale, y } = runForward(device, shape, inputs, "absmax");
        for (let row = 0; row < shape.N; row++) {
          const from = row * shape.F, to = from + shape.F;
          const expected = absmax(y.subarray(from, to));
          assertSame({ name: `q, row ${row}`, actual: q.subarray(from, to), expected: expected.q });
          assertEquals(scale[row], expected.scale);
        }
      });
    }
  }),
);

for (const act of ["silu", "relu2"] as const) {
  Deno.test(
    `gluNormForward() shows a NaN in the scale of its row alone when the gate is ${act}`,
    withRandom((random) => {
      const shape = { N: 3, F: 37, act };
      const inputs = inputsOf(shape, random);
      inputs.gateUp[2 * 37 + 5] = NaN;
      onEveryDevice((device) => {
        const { scale } = runForward(device, shape, inputs, "absmax");
        assertEquals([...scale].map(Number.isFinite), [true, false, true]);
      });
    }),
  );

  Deno.test(
    `gluNormBackward() gives the gradient that finite differences give when the gate is ${act}`,
    withRandom((random) => {
      const shape = { N: 3, F: 13, act };
      const inputs = inputsOf(shape, random);
      using device = openCpu();
      const gradients = runBackward(device, shape, inputs);
      const loss = (changed: Partial<Record<"gateUp" | "weight", Float64Array>>) =>
        gluNorm({ ...inputs, ...changed }).y
          .reduce((total, value, i) => total + value * inputs.dy[i]!, 0);
      assertGradient({
        name: "gateUp",
        loss: (gateUp) => loss({ gateUp }),
        at: Float64Array.from(inputs.gateUp),
        gradient: gradients.dgateUp,
        random,
        samples: 78,
        tolerance: 1e-5,
      });
      assertGradient({
        name: "weight",
        loss: (weight) => loss({ weight }),
        at: Float64Array.from(inputs.weight),
        gradient: gradients.dweight,
        random,
        tolerance: 1e-5,
      });
    }),
  );
}

Deno.test("gluNormForward() saturates without NaN when silu's argument is far from 0", () => {
  const gate = [-1e30, -200, -88.5, -50, 50, 88.5, 200, 1e18];
  onEveryDevice((device) => {
    const shape = { N: gate.length, F: 1, act: "silu" as const };
    const gateUp = Float32Array.from(gate.flatMap((value) => [value, 1]));
    const weight = new Float32Array([1]);
    const inputs = { gateUp, act: shape.act, weight, eps: 1, dy: gateUp };
    const { y } = runForward(device, shape, inputs, "none");
    assertEquals([...y].map((value) => Math.round(value * 1000) / 1000 + 0), [
      0,
      0,
      0,
      0,
      1,
      1,
      1,
      1,
    ]);
  });
});

Deno.test(
  "gluNormBackward() agrees with the chain rule at awkward shapes",
  withRandom((random) => {
    for (const shape of GATED_CASES) {
      const inputs = inputsOf(shape, random);
      const expected = gluNormGradients(inputs, inputs.dy);
      const plain = gluNormGradients(inputs, inputs.dy, single);
      onEveryDevice((device) => {
        const actual = runBackward(device, shape, inputs);
        for (const name of ["dgateUp", "dweight"] as const) {
          assertAsGoodAsPlain({
            name: `${name} of ${JSON.stringify(shape)}`,
            actual: actual[name],
            expected: expected[name],
            plain: plain[name],
            floor: 8 * 2 ** -24,
            magnitude: Math.max(
              largestMagnitude(expected[name]),
              largestMagnitude(name === "dgateUp" ? expected.direct : expected.terms),
            ),
          });
        }
      });
    }
  }),
);

Deno.test(
  "gluNorm gives the same bits when threads differ",
  withRandom((random) => {
    const shape = { N: 301, F: 67, act: "silu" as const };
    const inputs = inputsOf(shape, random);
    assertSameForThreads((device) => ({
      ...runForward(device, shape, inputs, "absmean"),
      ...runBackward(device, shape, inputs),
    }));
  }),
);

Deno.test("gluNormBackward() refuses when dgateUp is gateUp", () => {
  using device = openCpu();
  using memory = new GuardedMemory(device);
  const gateUp = memory.output("gateUp", "float32", [2, 6]);
  const dy = memory.output("dy", "float32", [2, 3]);
  const weight = memory.output("weight", "float32", [3]);
  const dweight = memory.output("dweight", "float32", [3]);
  const rstd = memory.output("rstd", "float32", [2]);
  assertThrows(
    () => gluNormBackward({ dy, gateUp, act: "silu", weight, rstd, dgateUp: gateUp, dweight }),
    NativeError,
    "must not be gate_up",
  );
});
