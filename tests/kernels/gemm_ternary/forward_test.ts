import { assertEquals, assertThrows } from "@std/assert";
import type { Device } from "../../../lib/ffi/device.ts";
import { NativeError } from "../../../lib/ffi/errors.ts";
import { gemmTernaryForward, gemmTernaryPackedForward } from "../../../lib/kernels/gemm_ternary.ts";
import { packedWidth } from "../../../lib/kernels/pack_ternary.ts";
import { assertSameBits } from "../../support/compare.ts";
import { assertSameForThreads, onEveryDevice, openCpu } from "../../support/devices.ts";
import { type Random, withRandom } from "../../support/random.ts";
import { GuardedMemory } from "../../support/sentinel.ts";
import { pack } from "../pack_ternary/reference.ts";
import { SHAPES } from "./cases.ts";
import { forwardBits, type ForwardInputs, type Sizes } from "./reference.ts";

function randomInputs(
  random: Random,
  { M, N, K }: Sizes,
  options: { residual: boolean },
): ForwardInputs {
  return {
    x: random.int8s(M * K),
    xScale: random.normals(M, 0.01),
    w: random.int8s(N * K, -1, 1),
    wScale: random.normals(N, 0.02),
    residual: options.residual ? random.normals(M * N) : null,
  };
}

/** y from int8 weights and from 2-bit weights. */
function forward(
  device: Device,
  inputs: ForwardInputs,
  { M, N, K }: Sizes,
): { int8: Float32Array<ArrayBuffer>; packed: Float32Array<ArrayBuffer> } {
  using memory = new GuardedMemory(device);
  const { residual } = inputs;
  const operands = {
    x: memory.input("x", [M, K], inputs.x),
    xScale: memory.input("xScale", [M], inputs.xScale),
    wScale: memory.input("wScale", [N], inputs.wScale),
    residual: residual ? memory.input("residual", [M, N], residual) : null,
  };
  const int8 = memory.output("y", "float32", [M, N]);
  gemmTernaryForward({ ...operands, w: memory.input("w", [N, K], inputs.w), y: int8 });
  const packed = memory.output("y", "float32", [M, N]);
  const words = memory.input("packed", [N, packedWidth(K)], pack(inputs.w, N, K));
  gemmTernaryPackedForward({ ...operands, packed: words, y: packed });
  memory.check();
  return { int8: int8.toFloat32Array(), packed: packed.toFloat32Array() };
}

for (const weights of ["int8", "packed"] as const) {
  const name = weights === "int8" ? "gemmTernaryForward()" : "gemmTernaryPackedForward()";
  Deno.test(
    `${name} gives the exact integer product through the one epilogue`,
    withRandom((random) => {
      const cases = SHAPES.map((sizes, index) => {
        const inputs = randomInputs(random, sizes, { residual: index % 2 === 1 });
        return { sizes, inputs, expected: forwardBits(inputs, sizes) };
      });
      onEveryDevice((device) => {
        for (const { sizes, inputs, expected } of cases) {
          assertSameBits({
            name: `y of ${sizes.M} x ${sizes.N} x ${sizes.K}`,
            actual: forward(device, inputs, sizes)[weights],
            expected,
          });
        }
      }, { packed: weights === "packed" });
    }),
  );
}

Deno.test("gemmTernaryForward() stays exact when every activation is -128 or 127", () => {
  onEveryDevice((device) => {
    for (const M of [1, 8, 13]) {
      for (const K of [256, 1024, 2048, 2052, 4099]) {
        for (const activation of [-128, 127]) {
          for (const weight of [-1, 1]) {
            const N = 18;
            const y = forward(device, {
              x: new Int8Array(M * K).fill(activation),
              xScale: new Float32Array(M).fill(1),
              w: new Int8Array(N * K).fill(weight),
              wScale: new Float32Array(N).fill(1),
            }, { M, N, K });
            const expected = new Float32Array(M * N).fill(activation * weight * K);
            assertEquals(y.int8, expected);
            assertEquals(y.packed, expected);
          }
        }
      }
    }
  });
});

Deno.test(
  "gemmTernaryForward() adds to y when y is the residual",
  withRandom((random) => {
    for (const sizes of [{ M: 2, N: 21, K: 70 }, { M: 15, N: 21, K: 70 }]) {
      const { M, N, K } = sizes;
      const inputs = randomInputs(random, sizes, { residual: true });
      onEveryDevice((device) => {
        using memory = new GuardedMemory(device);
        const y = memory.inout("y", [M, N], inputs.residual!);
        gemmTernaryForward({
          x: memory.input("x", [M, K], inputs.x),
          xScale: memory.input("xScale", [M], inputs.xScale),
          w: memory.input("w", [N, K], inputs.w),
          wScale: memory.input("wScale", [N], inputs.wScale),
          residual: y,
          y,
        });
        memory.check();
        assertSameBits({
          name: "y",
          actual: y.toFloat32Array(),
          expected: forwardBits(inputs, sizes),
        });
      });
    }
  }),
);

Deno.test(
  "gemmTernaryForward() gives a row the same bits alone as among others",
  withRandom((random) => {
    const sizes = { M: 20, N: 37, K: 150 };
    const inputs = randomInputs(random, sizes, { residual: true });
    onEveryDevice((device) => {
      const whole = forward(device, inputs, sizes).int8;
      for (const row of [0, 7, 19]) {
        const alone = forward(device, {
          ...inputs,
          x: inputs.x.slice(row * 150, (row + 1) * 150),
          xScale: inputs.xScale.slice(row, row + 1),
          residual: inputs.residual!.slice(row * 37, (row + 1) * 37),
        }, { ...sizes, M: 1 });
        const expected = whole.slice(row * 37, (row + 1) * 37);
        assertSameBits({ name: `row ${row}`, actual: alone.packed, expected });
      }
    });
  }),
);

Deno.test(
  "gemmTernaryForward() gives the same bits when the number of threads changes",
  withRandom((random) => {
    for (const M of [3, 70]) {
      const sizes = { M, N: 150, K: 301 };
      const inputs = randomInputs(random, sizes, { residual: true });
      assertSameForThreads((device) => forward(device, inputs, sizes));
    }
  }),
);

Deno.test(
  "gemmTernaryForward() lets a NaN scale reach its row and column, and no others",
  withRandom((random) => {
    for (const M of [4, 14]) {
      const sizes = { M, N: 21, K: 40 };
      const inputs = randomInputs(random, sizes, { residual: false });
      inputs.xScale[2] = NaN;
      inputs.wScale[20] = Infinity;
      onEveryDevice((device) => {
        const { int8, packed } = forward(device, inputs, sizes);
        for (const y of [int8, packed]) {
          const finite = Array.from(y, Number.isFinite);
          assertEquals(finite, finite.map((_, i) => Math.floor(i / 21) !== 2 && i % 21 !== 20));
        }
      });
    }
  }),
);

Deno.test(
  "gemmTernaryForward() gives the same bits when operands begin at odd addresses",
  withRandom((random) => {
    const sizes = { M: 70, N: 40, K: 64 };
    const { M, N, K } = sizes;
    const inputs = randomInputs(random, sizes, { residual: true });
    const shifted = (values: Int8Array) => Int8Array.from([0, 0, 0, ...values]);
    onEveryDevice((device) => {
      using memory = new GuardedMemory(device);
      const tensors = {
        x: memory.input("x", [M * K + 3], shifted(inputs.x)).view([M, K], { offset: 3 }),
        w: memory.input("w", [N * K + 3], shifted(inputs.w)).view([N, K], { offset: 3 }),
        xScale: memory.input("xScale", [M], inputs.xScale),
        wScale: memory.input("wScale", [N], inputs.wScale),
        residual: memory.input("residual", [M, N], inputs.residual!),
      };
      const y = memory.inout("y", [M * N + 1], new Float32Array(M * N + 1).fill(NaN));
      gemmTernaryForward({ ...tensors, y: y.view([M, N], { offset: 1 }) });
      memory.check();
      assertSameBits({
        name: "y",
        actual: y.toFloat32Array().subarray(1),
        expected: forwardBits(inputs, sizes),
      });
    });
  }),
);

Deno.test("gemmTernaryForward() throws NativeError when K is beyond exact float32 sums", () => {
  onEveryDevice((device) => {
    using memory = new GuardedMemory(device);
    const K = 2 ** 17 + 1;
    const error = assertThrows(
      () =>
        gemmTernaryForward({
          x: memory.output("x", "int8", [1, K]),
          xScale: memory.output("xScale", "float32", [1]),
          w: memory.output("w", "int8", [1, K]),
          wScale: memory.output("wScale", "float32", [1]),
          y: memory.output("y", "float32", [1, 1]),
        }),
      NativeError,
      "K 1 to 131072: current values are 1, 1, 131073",
    );
    assertEquals(error.op, "tb_gemm_ternary_forward");
  });
});

Deno.test("gemmTernaryForward() throws RangeError or TypeError naming the operand that doesn't fit", () => {
  using device = openCpu();
  using memory = new GuardedMemory(device);
  const operands = {
    x: memory.output("x", "int8", [2, 20]),
    xScale: memory.output("xScale", "float32", [2]),
    w: memory.output("w", "int8", [3, 20]),
    wScale: memory.output("wScale", "float32", [3]),
    y: memory.output("y", "float32", [2, 3]),
  };
  const cases = [
    { xScale: operands.wScale, names: RangeError, text: "wScale must have shape (2)" },
    { w: memory.output("w", "int8", [3, 21]), names: RangeError, text: "w must have shape (3,20)" },
    {
      y: memory.output("y", "float32", [3, 2]),
      names: RangeError,
      text: "y must have shape (2,3)",
    },
    { x: memory.output("x", "float32", [2, 20]), names: TypeError, text: "x must be int8" },
    { residual: operands.wScale, names: RangeError, text: "wScale must have shape (2,3)" },
  ];
  for (const { names, text, ...changed } of cases) {
    assertThrows(() => gemmTernaryForward({ ...operands, ...changed }), names, text);
  }
  const packed = memory.output("packed", "int32", [3, 1]);
  assertThrows(
    () => gemmTernaryPackedForward({ ...operands, packed }),
    RangeError,
    "packed must have shape (3,2)",
  );
  memory.check();
});
