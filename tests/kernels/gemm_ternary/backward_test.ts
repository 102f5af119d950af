import { assertEquals, assertThrows } from "@std/assert";
import type { Device } from "../../../lib/ffi/device.ts";
import { NativeError } from "../../../lib/ffi/errors.ts";
import {
  gemmTernaryBackwardInput,
  gemmTernaryBackwardWeight,
} from "../../../lib/kernels/gemm_ternary.ts";
import { assertAsGoodAsPlain } from "../../support/compare.ts";
import { assertSameForThreads, onEveryDevice, openCpu } from "../../support/devices.ts";
import { assertGradient } from "../../support/gradient_check.ts";
import { type Random, withRandom } from "../../support/random.ts";
import { GuardedMemory } from "../../support/sentinel.ts";
import { backwardInput, backwardWeight, dequantize, forward64, type Sizes } from "./reference.ts";

// The error of a long sum depends on its order, and plain float32 may be lucky with its own.
const FLOOR = 16 * 2 ** -24;

const SHAPES: readonly Sizes[] = [
  { M: 1, N: 1, K: 1 },
  { M: 2, N: 3, K: 100 },
  { M: 7, N: 257, K: 17 },
  { M: 12, N: 64, K: 32 },
  { M: 61, N: 31, K: 33 },
  { M: 259, N: 13, K: 47 },
];

function randomInputs(random: Random, { M, N, K }: Sizes) {
  return {
    dy: random.normals(M * N),
    x: random.int8s(M * K),
    xScale: random.normals(M, 0.01),
    w: random.int8s(N * K, -1, 1),
    wScale: random.normals(N, 0.02),
    dx0: random.normals(M * K),
    dw0: random.normals(N * K),
  };
}

type Inputs = ReturnType<typeof randomInputs>;

function backward(device: Device, inputs: Inputs, { M, N, K }: Sizes, accumulate = false) {
  using memory = new GuardedMemory(device);
  const dy = memory.input("dy", [M, N], inputs.dy);
  const dx = accumulate
    ? memory.inout("dx", [M, K], inputs.dx0)
    : memory.output("dx", "float32", [M, K]);
  const dw = accumulate
    ? memory.inout("dw", [N, K], inputs.dw0)
    : memory.output("dw", "float32", [N, K]);
  const w = memory.input("w", [N, K], inputs.w);
  const wScale = memory.input("wScale", [N], inputs.wScale);
  gemmTernaryBackwardInput({ dy, w, wScale, dx, accumulate });
  const x = memory.input("x", [M, K], inputs.x);
  const xScale = memory.input("xScale", [M], inputs.xScale);
  gemmTernaryBackwardWeight({ dy, x, xScale, dw, accumulate });
  memory.check();
  return { dx: dx.toFloat32Array(), dw: dw.toFloat32Array() };
}

for (const accumulate of [false, true]) {
  const when = accumulate ? "when it accumulates" : "when it overwrites";
  Deno.test(
    `gemmTernaryBackwardInput() equals the FP64 gradient ${when}`,
    withRandom((random) => {
      for (const sizes of SHAPES) {
        const inputs = randomInputs(random, sizes);
        const operands = {
          dy: inputs.dy,
          wReal: dequantize(inputs.w, inputs.wScale, sizes.K),
          ...(accumulate && { dx0: inputs.dx0 }),
        };
        const expected = backwardInput(operands, sizes);
        const plain = backwardInput(operands, sizes, Math.fround);
        onEveryDevice((device) => {
          const actual = backward(device, inputs, sizes, accumulate).dx;
          const shape = [sizes.M, sizes.K];
          assertAsGoodAsPlain({ name: "dx", actual, expected, plain, shape, floor: FLOOR });
        });
      }
    }),
  );

  Deno.test(
    `gemmTernaryBackwardWeight() equals the FP64 gradient ${when}`,
    withRandom((random) => {
      for (const sizes of SHAPES) {
        const inputs = randomInputs(random, sizes);
        const operands = {
          dy: inputs.dy,
          xReal: dequantize(inputs.x, inputs.xScale, sizes.K),
          ...(accumulate && { dw0: inputs.dw0 }),
        };
        const expected = backwardWeight(operands, sizes);
        const rounded = { ...operands, xReal: operands.xReal.map(Math.fround) };
        const plain = backwardWeight(rounded, sizes, Math.fround);
        onEveryDevice((device) => {
          const actual = backward(device, inputs, sizes, accumulate).dw;
          const shape = [sizes.N, sizes.K];
          assertAsGoodAsPlain({ name: "dw", actual, expected, plain, shape, floor: FLOOR });
        });
      }
    }),
  );
}

Deno.test(
  "gemmTernaryBackwardInput() and its reference are the finite differences of the forward",
  withRandom((random) => {
    const sizes = { M: 5, N: 7, K: 11 };
    const inputs = randomInputs(random, sizes);
    const { dy } = inputs;
    const xReal = dequantize(inputs.x, inputs.xScale, sizes.K);
    const wReal = dequantize(inputs.w, inputs.wScale, sizes.K);
    const lossOf = (y: Float64Array) => y.reduce((sum, value, i) => sum + value * dy[i]!, 0);
    using device = openCpu();
    const native = backward(device, inputs, sizes);
    const byInput = (at: Float64Array) => lossOf(forward64({ xReal: at, wReal }, sizes));
    const byWeight = (at: Float64Array) => lossOf(forward64({ xReal, wReal: at }, sizes));
    const common = { random, samples: 60 };
    assertGradient({
      name: "x by the reference",
      loss: byInput,
      at: xReal,
      gradient: backwardInput({ dy, wReal }, sizes),
      ...common,
    });
    assertGradient({
      name: "w by the reference",
      loss: byWeight,
      at: wReal,
      gradient: backwardWeight({ dy, xReal }, sizes),
      ...common,
    });
    assertGradient({
      name: "x",
      loss: byInput,
      at: xReal,
      gradient: native.dx,
      tolerance: 1e-5,
      ...common,
    });
    assertGradient({
      name: "w",
      loss: byWeight,
      at: wReal,
      gradient: native.dw,
      tolerance: 1e-5,
      ...common,
    });
  }),
);

Deno.test(
  "gemmTernaryBackwardInput() and gemmTernaryBackwardWeight() give the same bits when the number of threads changes",
  withRandom((random) => {
    const sizes = { M: 130, N: 90, K: 77 };
    const inputs = randomInputs(random, sizes);
    assertSameForThreads((device) => backward(device, inputs, sizes));
  }),
);

Deno.test("gemmTernaryBackwardInput() throws RangeError when dx has another shape", () => {
  using device = openCpu();
  using memory = new GuardedMemory(device);
  const dy = memory.output("dy", "float32", [2, 3]);
  const w = memory.output("w", "int8", [3, 5]);
  const wScale = memory.output("wScale", "float32", [3]);
  const dx = memory.output("dx", "float32", [2, 4]);
  assertThrows(
    () => gemmTernaryBackwardInput({ dy, w, wScale, dx }),
    RangeError,
    "dx must have shape (2,5)",
  );
  const xScale = memory.output("xScale", "float32", [2]);
  const x = memory.output("x", "int8", [2, 5]);
  assertThrows(
    () => gemmTernaryBackwardWeight({ dy, x, xScale, dw: dx }),
    RangeError,
    "dx must have shape (3,5)",
  );
});

Deno.test("gemmTernaryBackwardWeight() names the dtype when the device can't keep dw in it", () => {
  onEveryDevice((device) => {
    using memory = new GuardedMemory(device);
    const dy = memory.output("dy", "float32", [2, 3]);
    const x = memory.output("x", "int8", [2, 5]);
    const xScale = memory.output("xScale", "float32", [2]);
    const dw = memory.output("dw", "bfloat16", [3, 5]);
    const error = assertThrows(
      () => gemmTernaryBackwardWeight({ dy, x, xScale, dw }),
      NativeError,
      "current dw_dtype is 1",
    );
    assertEquals(error.status, "unsupported");
  });
});
