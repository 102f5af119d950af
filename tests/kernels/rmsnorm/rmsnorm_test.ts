import { assert, assertEquals, assertThrows } from "@std/assert";
import type { Device } from "../../../lib/ffi/device.ts";
import type { QuantizerName } from "../../../lib/kernels/quantizer.ts";
import { rmsnormBackward, rmsnormForward } from "../../../lib/kernels/rmsnorm.ts";
import {
  assertAsGoodAsPlain,
  assertClose,
  assertSame,
  largestMagnitude,
} from "../../support/compare.ts";
import { assertSameForThreads, onEveryDevice, openCpu } from "../../support/devices.ts";
import { assertGradient } from "../../support/gradient_check.ts";
import { type Random, withRandom } from "../../support/random.ts";
import { single } from "../../support/round.ts";
import { GuardedMemory, int8sOf } from "../../support/sentinel.ts";
import { CASES } from "./cases.ts";
import { absmax, absmeanUnits, rmsnorm, rmsnormGradients } from "./reference.ts";

const EPS = Math.fround(1e-5);

interface Case {
  N: number;
  D: number;
}

function inputsOf({ N, D }: Case, random: Random) {
  return {
    x: random.normals(N * D, 3),
    weight: random.normals(D).map((value) => 1 + 0.3 * value),
    eps: EPS,
    dy: random.normals(N * D),
  };
}

type Inputs = ReturnType<typeof inputsOf>;

function runForward(device: Device, { N, D }: Case, inputs: Inputs, quantizer: QuantizerName) {
  using memory = new GuardedMemory(device);
  const quantised = quantizer !== "none";
  const q = quantised ? memory.output("q", "int8", [N, D]) : null;
  const scale = quantised ? memory.output("scale", "float32", [N]) : null;
  const y = memory.output("y", "float32", [N, D]);
  const rstd = memory.output("rstd", "float32", [N]);
  const x = memory.input("x", [N, D], inputs.x);
  const weight = memory.input("weight", [D], inputs.weight);
  rmsnormForward({ x, weight, eps: inputs.eps, quantizer, q, scale, y, rstd });
  memory.check();
  return {
    q: q ? int8sOf(q) : new Int8Array(),
    scale: scale ? scale.toFloat32Array() : new Float32Array(),
    y: y.toFloat32Array(),
    rstd: rstd.toFloat32Array(),
  };
}

function runBackward(
  device: Device,
  { N, D }: Case,
  inputs: Inputs,
  options: { dweight: Float32Array<ArrayBuffer>; dx?: Float32Array<ArrayBuffer> },
) {
  const { rstd } = runForward(device, { N, D }, inputs, "none");
  using memory = new GuardedMemory(device);
  const dx = options.dx
    ? memory.inout("dx", [N, D], options.dx)
    : memory.output("dx", "float32", [N, D]);
  const dweight = memory.inout("dweight", [D], options.dweight);
  rmsnormBackward({
    dy: memory.input("dy", [N, D], inputs.dy),
    x: memory.input("x", [N, D], inputs.x),
    weight: memory.input("weight", [D], inputs.weight),
    rstd: memory.input("rstd", [N], rstd),
    dx,
    dweight,
    accumulate: options.dx !== undefined,
  });
  memory.check();
  return { dx: dx.toFloat32Array(), dweight: dweight.toFloat32Array() };
}

Deno.test(
  "rmsnormForward() agrees with the definition at awkward shapes",
  withRandom((random) => {
    for (const shape of CASES) {
      const inputs = inputsOf(shape, random);
      const expected = rmsnorm(inputs);
      const plain = rmsnorm(inputs, single);
      onEveryDevice((device) => {
        const actual = runForward(device, shape, inputs, "none");
        for (const name of ["y", "rstd"] as const) {
          assertAsGoodAsPlain({
            name: `${name} of ${JSON.stringify(shape)}`,
            actual: actual[name],
            expected: expected[name],
            plain: plain[name],
          });
        }
      });
    }
  }),
);

Deno.test(
  "rmsnormForward() gives exactly the absmax integers of its own values when quantizer is absmax",
  withRandom((random) => {
    for (const shape of CASES) {
      const inputs = inputsOf(shape, random);
      onEveryDevice((device) => {
        const { q, scale, y } = runForward(device, shape, inputs, "absmax");
        for (let row = 0; row < shape.N; row++) {
          const from = row * shape.D, to = from + shape.D;
          const expected = absmax(y.subarray(from, to));
          assertSame({ name: `q, row ${row}`, actual: q.subarray(from, to), expected: expected.q });
          assertEquals(scale[row], expected.scale);
        }
      });
    }
  }),
);

Deno.test(
  "rmsnormForward() rounds halves to even when quantizer is absmax",
  () => {
    // weight makes the values exact: 127 scales by 1, the others lie on halves.
    const halves = [127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 63.5, -126.5];
    const weight = Float32Array.from(halves);
    onEveryDevice((device) => {
      const shape = { N: 1, D: halves.length };
      const inputs = { x: new Float32Array(shape.D).fill(1), weight, eps: 0, dy: weight };
      const { q } = runForward(device, shape, inputs, "absmax");
      assertEquals([...q], [127, 0, 2, 2, 0, -2, -2, 64, -126]);
    });
  },
);

Deno.test(
  "rmsnormForward() gives the nearest integers of the absmean scale when quantizer is absmean",
  withRandom((random) => {
    for (const shape of CASES) {
      const inputs = inputsOf(shape, random);
      onEveryDevice((device) => {
        const { q, scale, y } = runForward(device, shape, inputs, "absmean");
        for (let row = 0; row < shape.N; row++) {
          const from = row * shape.D, to = from + shape.D;
          const { units, scale: expected } = absmeanUnits(y.subarray(from, to));
          // Half a unit, and the rounding of a float32 mean.
          assertClose({
            name: "q",
            actual: q.subarray(from, to),
            expected: units,
            absolute: 0.50001,
          });
          assertClose({
            name: "scale",
            actual: [scale[row]!],
            expected: [expected],
            relative: 1e-5,
          });
        }
      });
    }
  }),
);

Deno.test("rmsnormForward() gives zeros and the smallest scale when a row is all zeros", () => {
  onEveryDevice((device) => {
    const shape = { N: 2, D: 9 };
    const zeros = new Float32Array(18);
    const inputs = { x: zeros, weight: new Float32Array(9).fill(1), eps: EPS, dy: zeros };
    const { q, scale } = runForward(device, shape, inputs, "absmax");
    assertEquals([...q], Array(18).fill(0));
    assertEquals([...scale], Array(2).fill(Math.fround(Math.fround(1e-5) / 127)));
  });
});

for (const quantizer of ["absmax", "absmean"] as const) {
  for (const bad of [NaN, Infinity, -Infinity]) {
    Deno.test(
      `rmsnormForward() shows ${bad} in the scale of its row alone when quantizer is ${quantizer}`,
      withRandom((random) => {
        const shape = { N: 3, D: 45 };
        const inputs = inputsOf(shape, random);
        inputs.x[45 + 44] = bad;
        onEveryDevice((device) => {
          const { scale } = runForward(device, shape, inputs, quantizer);
          assertEquals([...scale].map(Number.isFinite), [true, false, true]);
        });
      }),
    );
  }
}

Deno.test(
  "rmsnormBackward() agrees with the chain rule at awkward shapes",
  withRandom((random) => {
    for (const shape of CASES) {
      const inputs = inputsOf(shape, random);
      const expected = rmsnormGradients(inputs, inputs.dy);
      const plain = rmsnormGradients(inputs, inputs.dy, single);
      onEveryDevice((device) => {
        const zeros = new Float32Array(shape.D);
        const actual = runBackward(device, shape, inputs, { dweight: zeros });
        for (const name of ["dx", "dweight"] as const) {
          assertAsGoodAsPlain({
            name: `${name} of ${JSON.stringify(shape)}`,
            actual: actual[name],
            expected: expected[name],
            plain: plain[name],
            floor: 8 * 2 ** -24,
            magnitude: Math.max(
              largestMagnitude(expected[name]),
              largestMagnitude(name === "dx" ? expected.direct : expected.terms),
            ),
          });
        }
      });
    }
  }),
);

Deno.test(
  "rmsnormBackward() gives the gradient that finite differences of the definition give",
  withRandom((random) => {
    const shape = { N: 3, D: 19 };
    const inputs = inputsOf(shape, random);
    using device = openCpu();
    const gradients = runBackward(device, shape, inputs, { dweight: new Float32Array(19) });
    for (const name of ["x", "weight"] as const) {
      assertGradient({
        name,
        loss: (moved) =>
          rmsnorm({ ...inputs, [name]: moved }).y
            .reduce((total, value, i) => total + value * inputs.dy[i]!, 0),
        at: Float64Array.from(inputs[name]),
        gradient: gradients[`d${name}`],
        random,
        tolerance: 1e-5,
      });
    }
  }),
);

Deno.test(
  "rmsnormBackward() adds to dweight always and to dx when accumulate is given",
  withRandom((random) => {
    const shape = { N: 9, D: 21 };
    const inputs = inputsOf(shape, random);
    const before = { dx: random.normals(9 * 21), dweight: random.normals(21) };
    onEveryDevice((device) => {
      const fresh = runBackward(device, shape, inputs, { dweight: new Float32Array(21) });
      const added = runBackward(device, shape, inputs, before);
      for (const name of ["dx", "dweight"] as const) {
        assertClose({
          name,
          actual: added[name],
          expected: before[name].map((value, i) => value + fresh[name][i]!),
          absolute: 1e-5,
        });
      }
    });
  }),
);

Deno.test(
  "rmsnorm gives the same bits when threads differ",
  withRandom((random) => {
    const shape = { N: 301, D: 67 };
    const inputs = inputsOf(shape, random);
    const dweight = random.normals(67);
    assertSameForThreads((device) => ({
      ...runForward(device, shape, inputs, "absmax"),
      ...runBackward(device, shape, inputs, { dweight }),
    }));
  }),
);

Deno.test("rmsnormForward() refuses when the quantiser's outputs are missing", () => {
  using device = openCpu();
  using memory = new GuardedMemory(device);
  const x = memory.output("x", "float32", [2, 3]);
  const weight = memory.output("weight", "float32", [3]);
  assertThrows(
    () => rmsnormForward({ x, weight, eps: EPS, quantizer: "absmax" }),
    RangeError,
    "needs the output q",
  );
});

Deno.test("rmsnormForward() refuses when the weight has another width, naming both shapes", () => {
  using device = openCpu();
  using memory = new GuardedMemory(device);
  const x = memory.output("x", "float32", [2, 3]);
  const weight = memory.output("norm.weight", "float32", [4]);
  const y = memory.output("y", "float32", [2, 3]);
  const error = assertThrows(
    () => rmsnormForward({ x, weight, eps: EPS, quantizer: "none", y }),
    RangeError,
    "norm.weight must have shape (3)",
  );
  assert(error.message.includes("current shape is (4)"));
});
