/** What only the card has: bfloat16 activations, sizes that fill it, and operands beyond its scratch memory. */

import type { Device } from "../../../lib/ffi/device.ts";
import {
  gemmTernaryBackwardInput,
  gemmTernaryBackwardWeight,
  gemmTernaryForward,
  gemmTernaryPackedForward,
} from "../../../lib/kernels/gemm_ternary.ts";
import { packedWidth, packTernary } from "../../../lib/kernels/pack_ternary.ts";
import { fromBfloat16, roundToBfloat16, toBfloat16 } from "../../support/bfloat16.ts";
import { assertAsGoodAsPlain, assertSame, assertSameBits } from "../../support/compare.ts";
import { hasCuda, onCuda, openCpu } from "../../support/devices.ts";
import { type Random, withRandom } from "../../support/random.ts";
import { floatsOf, GuardedMemory } from "../../support/sentinel.ts";
import { pack } from "../pack_ternary/reference.ts";
import { SHAPES } from "./cases.ts";
import { backwardInput, backwardWeight, forwardBits, type Sizes } from "./reference.ts";
import { repeated } from "./run.ts";

const ignore = !hasCuda();

/** Sums of tensor cores in float32; see gemm/bfloat16_test.ts. */
const TENSOR_CORE_FLOOR = 2 ** -17;

/** (rows, columns) integers times their row's factor as the card keeps them: rounded to float32, then to bfloat16. */
function dequantizeBfloat16(q: Int8Array, scale: Float32Array, columns: number): Float64Array {
  return Float64Array.from(
    { length: q.length },
    (_, i) => roundToBfloat16(q[i]! * scale[Math.floor(i / columns)]!),
  );
}

for (const weights of ["int8", "packed"] as const) {
  const name = weights === "int8" ? "gemmTernaryForward()" : "gemmTernaryPackedForward()";
  Deno.test({
    name: `${name} into bfloat16 gives the float32 result rounded once`,
    ignore,
    fn: withRandom((random) => {
      for (const [index, sizes] of SHAPES.entries()) {
        const { M, N, K } = sizes;
        const x = random.int8s(M * K), w = random.int8s(N * K, -1, 1);
        const xScale = random.normals(M, 0.01), wScale = random.normals(N, 0.02);
        const bits = index % 2 === 0 ? toBfloat16(random.normals(M * N)) : null;
        const residual = bits && fromBfloat16(bits);
        const expected = toBfloat16(forwardBits({ x, xScale, w, wScale, residual }, sizes));
        onCuda((device) => {
          using memory = new GuardedMemory(device);
          const y = memory.output("y", "bfloat16", [M, N]);
          const operands = {
            x: memory.input("x", [M, K], x),
            xScale: memory.input("xScale", [M], xScale),
            wScale: memory.input("wScale", [N], wScale),
            residual: bits && memory.input("residual", [M, N], bits),
            y,
          };
          if (weights === "int8") {
            gemmTernaryForward({ ...operands, w: memory.input("w", [N, K], w) });
          } else {
            const packed = memory.input("packed", [N, packedWidth(K)], pack(w, N, K));
            gemmTernaryPackedForward({ ...operands, packed });
          }
          memory.check();
          assertSame({
            name: `bits of y of ${M} x ${N} x ${K}`,
            actual: y.download(new Uint16Array(M * N)),
            expected,
            shape: [M, N],
          });
        });
      }
    }),
  });
}

/** y from int8 and from 2-bit weights, without sentinels: these sizes are large. */
function forwardBoth(device: Device, inputs: ReturnType<typeof largeInputs>, { M, N, K }: Sizes) {
  using memory = new GuardedMemory(device);
  const w = memory.input("w", [N, K], inputs.w);
  const packed = memory.output("packed", "int32", [N, packedWidth(K)]);
  packTernary({ q: w, packed });
  const operands = {
    x: memory.input("x", [M, K], inputs.x),
    xScale: memory.input("xScale", [M], inputs.xScale),
    wScale: memory.input("wScale", [N], inputs.wScale),
    residual: memory.input("residual", [M, N], inputs.residual),
  };
  const int8 = memory.output("y", "float32", [M, N]);
  gemmTernaryForward({ ...operands, w, y: int8 });
  const codes = memory.output("y", "float32", [M, N]);
  gemmTernaryPackedForward({ ...operands, packed, y: codes });
  memory.check();
  return { int8: int8.toFloat32Array(), codes: codes.toFloat32Array() };
}

function largeInputs(random: Random, { M, N, K }: Sizes) {
  return {
    x: random.int8s(M * K),
    xScale: random.normals(M, 0.01),
    w: random.int8s(N * K, -1, 1),
    wScale: random.normals(N, 0.02),
    residual: random.normals(M * N),
  };
}

Deno.test({
  name: "gemmTernaryForward() equals the CPU's to the last bit when sizes are a model's",
  ignore,
  fn: withRandom((random) => {
    const shapes = [
      { M: 1537, N: 2824, K: 2064 }, // large tiles, all tails
      { M: 300, N: 768, K: 3200 },
      { M: 1, N: 9000, K: 4112 }, // several outputs a warp
      { M: 4, N: 9001, K: 2064 },
      { M: 13, N: 8704, K: 2560 },
    ];
    using cpu = openCpu();
    for (const sizes of shapes) {
      const inputs = largeInputs(random, sizes);
      const expected = forwardBoth(cpu, inputs, sizes).int8;
      onCuda((device) => {
        const { int8, codes } = forwardBoth(device, inputs, sizes);
        const name = `y of ${sizes.M} x ${sizes.N} x ${sizes.K}`;
        assertSame({ name, actual: int8, expected, shape: [sizes.M, sizes.N] });
        assertSameBits({ name: `${name} from 2-bit weights`, actual: codes, expected });
      });
    }
  }),
});

for (const accumulate of [false, true]) {
  const when = accumulate ? "when it accumulates" : "when it overwrites";
  Deno.test({
    name: `gemmTernaryBackwardInput() of bfloat16 is as good as a plain loop ${when}`,
    ignore,
    fn: withRandom((random) => {
      for (const sizes of [...SHAPES, { M: 260, N: 520, K: 264 }]) {
        const { M, N, K } = sizes;
        const dy = toBfloat16(random.normals(M * N)), dx0 = toBfloat16(random.normals(M * K));
        const w = random.int8s(N * K, -1, 1), wScale = random.normals(N, 0.02);
        const operands = {
          dy: fromBfloat16(dy),
          wReal: dequantizeBfloat16(w, wScale, K),
          ...(accumulate && { dx0: fromBfloat16(dx0) }),
        };
        const expected = backwardInput(operands, sizes);
        const plain = backwardInput(operands, sizes, Math.fround).map(roundToBfloat16);
        onCuda((device) => {
          using memory = new GuardedMemory(device);
          const dx = accumulate
            ? memory.inout("dx", [M, K], dx0)
            : memory.output("dx", "bfloat16", [M, K]);
          gemmTernaryBackwardInput({
            dy: memory.input("dy", [M, N], dy),
            w: memory.input("w", [N, K], w),
            wScale: memory.input("wScale", [N], wScale),
            dx,
            accumulate,
          });
          memory.check();
          assertAsGoodAsPlain({
            name: `dx of ${M} x ${N} x ${K}`,
            actual: floatsOf(dx),
            expected,
            plain,
            shape: [M, K],
            floor: TENSOR_CORE_FLOOR,
          });
        }, { products: true });
      }
    }),
  });

  for (const dwDtype of ["float32", "bfloat16"] as const) {
    Deno.test({
      name:
        `gemmTernaryBackwardWeight() of bfloat16 into ${dwDtype} is as good as a plain loop ${when}`,
      ignore,
      fn: withRandom((random) => {
        for (const sizes of [...SHAPES, { M: 520, N: 264, K: 136 }]) {
          const { M, N, K } = sizes;
          const dy = toBfloat16(random.normals(M * N)), start = random.normals(N * K);
          const dw0 = dwDtype === "float32" ? start : toBfloat16(start);
          const x = random.int8s(M * K), xScale = random.normals(M, 0.01);
          const operands = {
            dy: fromBfloat16(dy),
            xReal: dequantizeBfloat16(x, xScale, K),
            ...(accumulate && { dw0: dw0 instanceof Float32Array ? dw0 : fromBfloat16(dw0) }),
          };
          const expected = backwardWeight(operands, sizes);
          const sums = backwardWeight(operands, sizes, Math.fround);
          const plain = dwDtype === "float32" ? sums : sums.map(roundToBfloat16);
          onCuda((device) => {
            using memory = new GuardedMemory(device);
            const dw = accumulate
              ? memory.inout("dw", [N, K], dw0)
              : memory.output("dw", dwDtype, [N, K]);
            gemmTernaryBackwardWeight({
              dy: memory.input("dy", [M, N], dy),
              x: memory.input("x", [M, K], x),
              xScale: memory.input("xScale", [M], xScale),
              dw,
              accumulate,
            });
            memory.check();
            assertAsGoodAsPlain({
              name: `dw of ${M} x ${N} x ${K}`,
              actual: floatsOf(dw),
              expected,
              plain,
              shape: [N, K],
              // cuBLASLt was seen a whole unit of bfloat16's last place off where it adds to what is there.
              floor: dwDtype === "bfloat16" && accumulate ? 2 ** -8 : TENSOR_CORE_FLOOR,
            });
          }, { products: true });
        }
      }),
    });
  }
}

// Both integer operands become more than the 224 MiB of bfloat16 that the scratch memory holds.
Deno.test({
  name:
    "gemmTernaryBackwardInput() of bfloat16 equals the FP64 gradient when w exceeds the scratch",
  ignore,
  fn: withRandom((random) => {
    const M = 8, N = 60000, K = 2064;
    const dy = toBfloat16(random.normals(M * N));
    const w = repeated(random, N * K, -1, 1), wScale = random.normals(N, 0.02);
    const columns = [0, 1, 1023, 1900, 1919, 1920, 1921, 2000, 2062, 2063];
    const rows = { M, N, K: columns.length };
    const chosen = Int8Array.from(
      { length: N * columns.length },
      (_, i) => w[Math.floor(i / columns.length) * K + columns[i % columns.length]!]!,
    );
    const operands = {
      dy: fromBfloat16(dy),
      wReal: dequantizeBfloat16(chosen, wScale, columns.length),
    };
    onCuda((device) => {
      using memory = new GuardedMemory(device);
      const dx = memory.output("dx", "bfloat16", [M, K]);
      gemmTernaryBackwardInput({
        dy: memory.input("dy", [M, N], dy),
        w: memory.input("w", [N, K], w),
        wScale: memory.input("wScale", [N], wScale),
        dx,
      });
      memory.check();
      const values = floatsOf(dx);
      assertAsGoodAsPlain({
        name: "columns of dx",
        actual: Array.from({ length: M }, (_, m) => columns.map((k) => values[m * K + k]!)).flat(),
        expected: backwardInput(operands, rows),
        plain: backwardInput(operands, rows, Math.fround).map(roundToBfloat16),
        floor: TENSOR_CORE_FLOOR,
      });
    }, { products: true });
  }),
});

for (const dwDtype of ["float32", "bfloat16"] as const) {
  Deno.test({
    name:
      `gemmTernaryBackwardWeight() of bfloat16 into ${dwDtype} equals the FP64 gradient when x exceeds the scratch`,
    ignore,
    fn: withRandom((random) => {
      const M = 60000, N = 8, K = 2064;
      const dy = toBfloat16(random.normals(M * N)), start = random.normals(N * K);
      const dw0 = dwDtype === "float32" ? start : toBfloat16(start);
      const x = repeated(random, M * K, -128, 127), xScale = random.normals(M, 0.01);
      const columns = [0, 1, 1023, 1900, 1919, 1920, 1921, 2062, 2063];
      const sizes = { M, N, K: columns.length };
      const chosen = Int8Array.from(
        { length: M * columns.length },
        (_, i) => x[Math.floor(i / columns.length) * K + columns[i % columns.length]!]!,
      );
      const pick = (values: Float32Array) =>
        Array.from({ length: N }, (_, n) => columns.map((k) => values[n * K + k]!)).flat();
      const operands = {
        dy: fromBfloat16(dy),
        xReal: dequantizeBfloat16(chosen, xScale, columns.length),
        dw0: pick(dw0 instanceof Float32Array ? dw0 : fromBfloat16(dw0)),
      };
      const sums = backwardWeight(operands, sizes, Math.fround);
      onCuda((device) => {
        using memory = new GuardedMemory(device);
        const dw = memory.inout("dw", [N, K], dw0);
        gemmTernaryBackwardWeight({
          dy: memory.input("dy", [M, N], dy),
          x: memory.input("x", [M, K], x),
          xScale: memory.input("xScale", [M], xScale),
          dw,
          accumulate: true,
        });
        memory.check();
        assertAsGoodAsPlain({
          name: "columns of dw",
          actual: pick(floatsOf(dw)),
          expected: backwardWeight(operands, sizes),
          plain: dwDtype === "float32" ? sums : sums.map(roundToBfloat16),
          floor: 16 * TENSOR_CORE_FLOOR, // 60,000 terms
        });
      }, { products: true });
    }),
  });
}

Deno.test({
  name: "gemmTernaryBackwardWeight() of bfloat16 gives the same bits when it runs again",
  ignore,
  fn: withRandom((random) => {
    const M = 4096, N = 768, K = 768;
    const dy = toBfloat16(random.normals(M * N));
    const x = random.int8s(M * K), xScale = random.normals(M, 0.01);
    const before: Record<string, Float32Array> = {};
    for (const round of [0, 1]) {
      let kind = 0;
      onCuda((device) => {
        using memory = new GuardedMemory(device);
        const dw = memory.output("dw", "float32", [N, K]);
        gemmTernaryBackwardWeight({
          dy: memory.input("dy", [M, N], dy),
          x: memory.input("x", [M, K], x),
          xScale: memory.input("xScale", [M], xScale),
          dw,
        });
        const actual = floatsOf(dw);
        const expected = before[kind] ??= actual;
        kind++;
        assertSameBits({ name: `dw in round ${round}`, actual, expected });
      }, { products: true });
    }
  }),
});
