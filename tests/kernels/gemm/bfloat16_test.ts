/** The dense product of bfloat16 operands, on the card: through cuBLASLt where it is there, and by the project's own kernels. */

import { assertEquals } from "@std/assert";
import { gemm } from "../../../lib/kernels/gemm.ts";
import { fromBfloat16, roundToBfloat16, toBfloat16 } from "../../support/bfloat16.ts";
import {
  assertAsGoodAsPlain,
  assertClose,
  assertSameBits,
  largestMagnitude,
} from "../../support/compare.ts";
import { hasCuda, onCuda } from "../../support/devices.ts";
import { type Random, withRandom } from "../../support/random.ts";
import { floatsOf, GuardedMemory } from "../../support/sentinel.ts";
import { SHAPES } from "./cases.ts";
import { gemm32, gemm64, type GemmSizes } from "./reference.ts";

const ignore = !hasCuda();

/** Tiles of 64 x 128, steps of 64, rows of whole chunks of 8. */
const CHUNKED: readonly { M: number; N: number; K: number }[] = [
  { M: 8, N: 8, K: 8 },
  { M: 64, N: 128, K: 64 },
  { M: 72, N: 136, K: 72 },
  { M: 56, N: 264, K: 200 },
  { M: 136, N: 120, K: 456 },
];

/** Rows around 8 and 16, columns around 8 and 64, depths of one step of 32 to more than 8 at once. */
const FEW_ROWS: readonly { M: number; N: number; K: number }[] = [
  { M: 1, N: 1, K: 32 },
  { M: 1, N: 515, K: 2048 },
  { M: 7, N: 64, K: 96 },
  { M: 8, N: 7, K: 288 },
  { M: 9, N: 65, K: 256 },
  { M: 16, N: 130, K: 544 },
  { M: 17, N: 33, K: 64 },
];

// Tensor cores cut off where they align the terms of a sum, which adds up with its length: 1.2 times a floor of 2^-18 was
// seen on an H200 at 2,731 and at 60,000 terms.
const TENSOR_CORE_FLOOR = 2 ** -17;

function randomOperands(random: Random, { M, N, K }: GemmSizes) {
  return {
    a: toBfloat16(random.normals(M * K)),
    b: toBfloat16(random.normals(K * N)),
    residual: toBfloat16(random.normals(M * N, 4)),
  };
}

for (const transposeA of [false, true]) {
  for (const transposeB of [false, true]) {
    const layout = `${transposeA ? "aᵀ" : "a"} · ${transposeB ? "bᵀ" : "b"}`;
    Deno.test({
      name: `gemm() of bfloat16 is as good as a plain loop when it multiplies ${layout}`,
      ignore,
      fn: withRandom((random) => {
        for (const [index, shape] of [...SHAPES, ...CHUNKED].entries()) {
          const sizes = { ...shape, transposeA, transposeB };
          const { M, N, K } = sizes;
          const bits = randomOperands(random, sizes);
          const residual = index % 2 === 0 ? null : fromBfloat16(bits.residual);
          const operands = { a: fromBfloat16(bits.a), b: fromBfloat16(bits.b), residual };
          const expected = gemm64(operands, sizes);
          const plain = gemm32(operands, sizes);
          onCuda((device) => {
            for (const dtype of ["float32", "bfloat16"] as const) {
              using memory = new GuardedMemory(device);
              const c = memory.output("c", dtype, [M, N]);
              const added = dtype === "float32" ? residual : bits.residual;
              gemm({
                a: memory.input("a", transposeA ? [K, M] : [M, K], bits.a),
                b: memory.input("b", transposeB ? [N, K] : [K, N], bits.b),
                residual: residual && memory.input("residual", [M, N], added!),
                c,
                transposeA,
                transposeB,
              });
              memory.check();
              assertAsGoodAsPlain({
                name: `${dtype} c of ${M} x ${N} x ${K}`,
                actual: floatsOf(c),
                expected,
                plain: dtype === "float32" ? plain : plain.map(roundToBfloat16),
                shape: [M, N],
                floor: TENSOR_CORE_FLOOR,
              });
            }
          }, { products: true });
        }
      }),
    });

    // More tiles of 128 x 256 than any card has processors, none of the sizes whole tiles.
    Deno.test({
      name: `gemm() of bfloat16 is right at random places of a large product of ${layout}`,
      ignore,
      fn: withRandom((random) => {
        const sizes = { M: 3080, N: 2312, K: 456, transposeA, transposeB };
        const { M, N, K } = sizes;
        const bits = randomOperands(random, sizes);
        const a = fromBfloat16(bits.a), b = fromBfloat16(bits.b);
        const places = Array.from({ length: 4000 }, () => {
          const m = random.integer(0, M - 1), n = random.integer(0, N - 1);
          const row = Float32Array.from(
            { length: K },
            (_, k) => a[transposeA ? k * M + m : m * K + k]!,
          );
          const column = Float32Array.from(
            { length: K },
            (_, k) => b[transposeB ? n * K + k : k * N + n]!,
          );
          const one = { M: 1, N: 1, K };
          const operands = { a: row, b: column };
          return {
            at: m * N + n,
            exact: gemm64(operands, one)[0]!,
            plain: gemm32(operands, one)[0]!,
          };
        });
        onCuda((device) => {
          using memory = new GuardedMemory(device);
          const c = memory.output("c", "float32", [M, N]);
          gemm({
            a: memory.input("a", transposeA ? [K, M] : [M, K], bits.a),
            b: memory.input("b", transposeB ? [N, K] : [K, N], bits.b),
            c,
            transposeA,
            transposeB,
          });
          memory.check();
          const values = floatsOf(c);
          assertEquals(values.findIndex(Number.isNaN), -1, "first element that was not written");
          assertAsGoodAsPlain({
            name: "places of c",
            actual: places.map(({ at }) => values[at]!),
            expected: places.map(({ exact }) => exact),
            plain: places.map(({ plain }) => plain),
            floor: TENSOR_CORE_FLOOR,
          });
        }, { products: true });
      }),
    });
  }
}

Deno.test({
  name: "gemm() of bfloat16 adds to c when c is the residual",
  ignore,
  fn: withRandom((random) => {
    const sizes = { M: 70, N: 88, K: 96, transposeB: true };
    const { M, N, K } = sizes;
    const bits = randomOperands(random, sizes);
    onCuda((device) => {
      using memory = new GuardedMemory(device);
      const operands = {
        a: memory.input("a", [M, K], bits.a),
        b: memory.input("b", [N, K], bits.b),
        transposeB: true,
      };
      for (const values of [fromBfloat16(bits.residual), bits.residual]) {
        const residual = memory.input("residual", [M, N], values);
        const apart = memory.output("c", residual.dtype, [M, N]);
        gemm({ ...operands, residual, c: apart });
        const inPlace = memory.inout("c", [M, N], values);
        gemm({ ...operands, residual: inPlace, c: inPlace });
        memory.check();
        // The library may take another algorithm: one rounding apart in bfloat16.
        const expected = floatsOf(apart);
        const ulp = residual.dtype === "bfloat16" ? 2 ** -7 : 2 ** -17;
        const absolute = ulp * largestMagnitude(expected);
        assertClose({ name: "c", actual: floatsOf(inPlace), expected, absolute });
      }
    }, { products: true });
  }),
});

Deno.test({
  name: "gemm() of bfloat16 gives the same bits when operands begin at odd addresses",
  ignore,
  fn: withRandom((random) => {
    const sizes = { M: 40, N: 24, K: 64 };
    const { M, N, K } = sizes;
    const bits = randomOperands(random, sizes);
    const shifted = (values: Uint16Array) => Uint16Array.from([0, ...values]);
    const exact = gemm64({ a: fromBfloat16(bits.a), b: fromBfloat16(bits.b) }, sizes);
    const plain = gemm32({ a: fromBfloat16(bits.a), b: fromBfloat16(bits.b) }, sizes);
    onCuda((device) => {
      using memory = new GuardedMemory(device);
      const a = memory.input("a", [M * K + 1], shifted(bits.a)).view([M, K], { offset: 1 });
      const b = memory.input("b", [N * K + 1], shifted(bits.b)).view([K, N], { offset: 1 });
      const c = memory.output("c", "float32", [M * N + 1]);
      gemm({ a, b, c: c.view([M, N], { offset: 1 }) });
      memory.check();
      assertAsGoodAsPlain({
        name: "c",
        actual: floatsOf(c).subarray(1),
        expected: exact,
        plain,
        floor: TENSOR_CORE_FLOOR,
      });
    }, { products: true });
  }),
});

Deno.test({
  name: "gemm() of bfloat16 gives the same bits when it runs again, in another context too",
  ignore,
  fn: withRandom((random) => {
    for (const sizes of [{ M: 1024, N: 768, K: 3072 }, { M: 32, N: 64, K: 65536 }]) {
      const { M, N, K } = sizes;
      const bits = randomOperands(random, sizes);
      const before: Record<string, Float32Array> = {};
      for (const round of [0, 1, 2]) {
        let kind = 0;
        onCuda((device) => {
          using memory = new GuardedMemory(device);
          const c = memory.output("c", "float32", [M, N]);
          gemm({ a: memory.input("a", [M, K], bits.a), b: memory.input("b", [K, N], bits.b), c });
          const actual = floatsOf(c);
          const expected = before[kind] ??= actual;
          kind++;
          assertSameBits({ name: `c in round ${round}`, actual, expected });
        }, { products: true });
      }
    }
  }),
});

Deno.test({
  name: "gemm() of bfloat16 lets NaN and infinity reach their rows and columns, and no others",
  ignore,
  fn: withRandom((random) => {
    for (const M of [5, 24, 200]) {
      const N = 24, K = 40;
      const a = random.normals(M * K), b = random.normals(N * K);
      a[2 * K + K - 1] = NaN;
      b[20 * K + 5] = Infinity;
      onCuda((device) => {
        using memory = new GuardedMemory(device);
        const c = memory.output("c", "bfloat16", [M, N]);
        gemm({
          a: memory.input("a", [M, K], toBfloat16(a)),
          b: memory.input("b", [N, K], toBfloat16(b)),
          c,
          transposeB: true,
        });
        const finite = Array.from(floatsOf(c), Number.isFinite);
        assertEquals(finite, finite.map((_, i) => Math.floor(i / N) !== 2 && i % N !== 20));
      }, { products: true });
    }
  }),
});

Deno.test({
  name:
    "gemm() of few rows by bᵀ into float32 is as good as a plain loop, and gives a row the same bits beside any others",
  ignore,
  fn: withRandom((random) => {
    for (const shape of FEW_ROWS) {
      const sizes = { ...shape, transposeA: false, transposeB: true };
      const { M, N, K } = sizes;
      const bits = randomOperands(random, sizes);
      const operands = { a: fromBfloat16(bits.a), b: fromBfloat16(bits.b), residual: null };
      onCuda((device) => {
        const product = (a: Uint16Array<ArrayBuffer>) => {
          const rows = a.length / K;
          using memory = new GuardedMemory(device);
          const c = memory.output("c", "float32", [rows, N]);
          gemm({
            a: memory.input("a", [rows, K], a),
            b: memory.input("b", [N, K], bits.b),
            c,
            transposeB: true,
          });
          memory.check();
          return c.toFloat32Array();
        };
        const actual = product(bits.a);
        assertAsGoodAsPlain({
          name: `c of ${M} x ${N} x ${K}`,
          actual,
          expected: gemm64(operands, sizes),
          plain: gemm32(operands, sizes),
          shape: [M, N],
          floor: TENSOR_CORE_FLOOR,
        });
        if (M > 16) return; // a product of another kind
        for (let row = 0; row < M; row++) {
          assertSameBits({
            name: `row ${row} of ${M} x ${N} x ${K}`,
            actual: product(bits.a.slice(row * K, (row + 1) * K)),
            expected: actual.slice(row * N, (row + 1) * N),
          });
        }
      });
    }
  }),
});
