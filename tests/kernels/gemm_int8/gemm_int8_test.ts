// The card's part of these runs wherever there is one, by onEveryDevice().
import { assertEquals, assertThrows } from "@std/assert";
import type { Device } from "../../../lib/ffi/device.ts";
import { NativeError } from "../../../lib/ffi/errors.ts";
import { gemmInt8 } from "../../../lib/kernels/gemm_int8.ts";
import { assertSameBits } from "../../support/compare.ts";
import { assertSameForThreads, onEveryDevice, openCpu } from "../../support/devices.ts";
import { type Random, withRandom } from "../../support/random.ts";
import { GuardedMemory } from "../../support/sentinel.ts";
import { int8Bits, type Int8Inputs } from "./reference.ts";

interface Sizes {
  M: number;
  N: number;
  K: number;
}

/**
 * Rows around blocks of 4, columns around 8, 4 and 2 streams of two threads, depths around 16, 32 and 64; on the card rows around 8 and
 * 16, columns around 8 and 64, depths of one step of 64 to more than 8 at once.
 */
const SHAPES: readonly Sizes[] = [
  { M: 1, N: 1, K: 1 },
  { M: 1, N: 7, K: 15 },
  { M: 1, N: 16, K: 16 },
  { M: 1, N: 17, K: 33 },
  { M: 1, N: 131, K: 515 },
  { M: 2, N: 9, K: 64 },
  { M: 3, N: 1, K: 63 },
  { M: 3, N: 21, K: 100 },
  { M: 4, N: 33, K: 128 },
  { M: 5, N: 12, K: 31 },
  { M: 8, N: 65, K: 257 },
  { M: 17, N: 3, K: 47 },
  { M: 33, N: 66, K: 129 },
  { M: 129, N: 5, K: 20 },
  { M: 1, N: 1, K: 64 },
  { M: 7, N: 63, K: 192 },
  { M: 9, N: 130, K: 512 },
  { M: 16, N: 71, K: 576 },
  { M: 35, N: 9, K: 1088 },
];

function inputsOf(random: Random, { M, N, K }: Sizes): Int8Inputs {
  return { x: random.normals(M * K), w: random.int8s(N * K), wScale: random.normals(N, 0.02) };
}

function product(
  device: Device,
  inputs: Int8Inputs,
  { M, N, K }: Sizes,
): Float32Array<ArrayBuffer> {
  using memory = new GuardedMemory(device);
  const y = memory.output("y", "float32", [M, N]);
  gemmInt8({
    x: memory.input("x", [M, K], inputs.x),
    w: memory.input("w", [N, K], inputs.w),
    wScale: memory.input("wScale", [N], inputs.wScale),
    y,
  });
  memory.check();
  return y.toFloat32Array();
}

Deno.test(
  "gemmInt8() gives the exact integer product of the quantised rows",
  withRandom((random) => {
    const cases = SHAPES.map((sizes) => {
      const inputs = inputsOf(random, sizes);
      return { sizes, inputs, expected: int8Bits(inputs, sizes) };
    });
    onEveryDevice((device) => {
      for (const { sizes, inputs, expected } of cases) {
        const actual = product(device, inputs, sizes);
        assertSameBits({ name: `y of ${sizes.M} x ${sizes.N} x ${sizes.K}`, actual, expected });
      }
    });
  }),
);

Deno.test("gemmInt8() stays exact when every factor is as large as it can be", () => {
  onEveryDevice((device) => {
    for (const M of [1, 3, 5]) {
      for (const K of [32, 2049, 32768]) {
        for (const weight of [-128, 127, 0, 1]) {
          const sizes = { M, N: 19, K };
          const y = product(device, {
            x: new Float32Array(M * K).fill(-127),
            w: new Int8Array(19 * K).fill(weight),
            wScale: new Float32Array(19).fill(1),
          }, sizes);
          assertEquals(y, new Float32Array(M * 19).fill(0 - 127 * weight * K));
        }
      }
    }
  });
});

Deno.test("gemmInt8() rounds halves to even when a value lies between two integers", () => {
  const x = Float32Array.from([127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5]);
  const K = x.length;
  const w = new Int8Array(K * K);
  for (let k = 0; k < K; k++) w[k * K + k] = 1;
  onEveryDevice((device) => {
    const inputs = { x, w, wScale: new Float32Array(K).fill(1) };
    const y = product(device, inputs, { M: 1, N: K, K });
    assertEquals([...y], [127, 0, 2, 2, 0, -2, -2]);
  });
});

Deno.test(
  "gemmInt8() gives the same bits when the number of threads changes, and a row alone the same as among others",
  withRandom((random) => {
    for (const M of [1, 6]) {
      const sizes = { M, N: 1030, K: 301 };
      const inputs = inputsOf(random, sizes);
      assertSameForThreads((device) => ({ y: product(device, inputs, sizes) }));
    }
    const sizes = { M: 6, N: 37, K: 90 };
    const inputs = inputsOf(random, sizes);
    onEveryDevice((device) => {
      const whole = product(device, inputs, sizes);
      for (const row of [0, 3, 5]) {
        const x = inputs.x.slice(row * 90, (row + 1) * 90);
        const actual = product(device, { ...inputs, x }, { ...sizes, M: 1 });
        const expected = whole.slice(row * 37, (row + 1) * 37);
        assertSameBits({ name: `row ${row}`, actual, expected });
      }
    });
  }),
);

Deno.test(
  "gemmInt8() lets what is not finite reach its row, and no other",
  withRandom((random) => {
    for (const value of [NaN, Infinity, -Infinity]) {
      const sizes = { M: 5, N: 11, K: 40 };
      const inputs = inputsOf(random, sizes);
      inputs.w.fill(1);
      inputs.x[2 * 40 + 7] = value;
      onEveryDevice((device) => {
        const finite = Array.from(product(device, inputs, sizes), Number.isFinite);
        assertEquals(finite, finite.map((_, i) => Math.floor(i / 11) !== 2));
      });
    }
  }),
);

Deno.test("gemmInt8() throws naming what doesn't fit", () => {
  onEveryDevice((device) => {
    using memory = new GuardedMemory(device);
    const operands = (K: number) => ({
      x: memory.output("x", "float32", [1, K]),
      w: memory.output("w", "int8", [2, K]),
      wScale: memory.output("wScale", "float32", [2]),
      y: memory.output("y", "float32", [1, 2]),
    });
    const error = assertThrows(() => gemmInt8(operands(32769)), NativeError, "1, 2, 32769");
    assertEquals(error.op, "tb_gemm_int8");
  });
  using device = openCpu();
  using memory = new GuardedMemory(device);
  const fitting = {
    x: memory.output("x", "float32", [1, 8]),
    w: memory.output("w", "int8", [2, 8]),
    wScale: memory.output("wScale", "float32", [2]),
    y: memory.output("y", "float32", [1, 2]),
  };
  const short = memory.output("short", "int8", [2, 7]);
  assertThrows(() => gemmInt8({ ...fitting, w: short }), RangeError, "short must have shape (2,8)");
  assertThrows(() => gemmInt8({ ...fitting, w: fitting.y }), TypeError, "y must be int8");
});
