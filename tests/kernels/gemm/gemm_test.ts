import { assertEquals, assertThrows } from "@std/assert";
import { NativeError } from "../../../lib/ffi/errors.ts";
import { gemm } from "../../../lib/kernels/gemm.ts";
import { assertAsGoodAsPlain } from "../../support/compare.ts";
import { assertSameForThreads, onEveryDevice, openCpu } from "../../support/devices.ts";
import { withRandom } from "../../support/random.ts";
import { GuardedMemory } from "../../support/sentinel.ts";
import { SHAPES } from "./cases.ts";
import { gemm32, gemm64 } from "./reference.ts";

// The error of a long sum depends on its order, and plain float32 may be lucky with its own.
const FLOOR = 16 * 2 ** -24;

for (const transposeA of [false, true]) {
  for (const transposeB of [false, true]) {
    const layout = `${transposeA ? "aᵀ" : "a"} · ${transposeB ? "bᵀ" : "b"}`;
    Deno.test(
      `gemm() equals the FP64 product when it multiplies ${layout}`,
      withRandom((random) => {
        const inputs = SHAPES.map((shape) => {
          const sizes = { ...shape, transposeA, transposeB };
          const a = random.normals(shape.M * shape.K);
          const b = random.normals(shape.K * shape.N);
          return { sizes, a, b, exact: gemm64({ a, b }, sizes), plain: gemm32({ a, b }, sizes) };
        });
        onEveryDevice((device) => {
          for (const { sizes, a, b, exact, plain } of inputs) {
            const { M, N, K } = sizes;
            using memory = new GuardedMemory(device);
            const c = memory.output("c", "float32", [M, N]);
            gemm({
              a: memory.input("a", transposeA ? [K, M] : [M, K], a),
              b: memory.input("b", transposeB ? [N, K] : [K, N], b),
              c,
              transposeA,
              transposeB,
            });
            memory.check();
            assertAsGoodAsPlain({
              name: `c of ${M} x ${N} x ${K}`,
              actual: c.toFloat32Array(),
              expected: exact,
              plain,
              shape: [M, N],
              floor: FLOOR,
            });
          }
        });
      }),
    );
  }
}

Deno.test(
  "gemm() adds the residual when one is given, also when it is c itself",
  withRandom((random) => {
    for (const { M, N, K } of [{ M: 3, N: 19, K: 40 }, { M: 14, N: 35, K: 300 }]) {
      const a = random.normals(M * K);
      const b = random.normals(N * K);
      const residual = random.normals(M * N, 10);
      const sizes = { M, N, K, transposeB: true };
      const expected = gemm64({ a, b, residual }, sizes);
      const plain = gemm32({ a, b, residual }, sizes);
      onEveryDevice((device) => {
        using memory = new GuardedMemory(device);
        const tensors = {
          a: memory.input("a", [M, K], a),
          b: memory.input("b", [N, K], b),
          transposeB: true,
        };
        const apart = memory.output("c", "float32", [M, N]);
        gemm({ ...tensors, residual: memory.input("residual", [M, N], residual), c: apart });
        const inPlace = memory.inout("c", [M, N], residual);
        gemm({ ...tensors, residual: inPlace, c: inPlace });
        memory.check();
        const actual = apart.toFloat32Array();
        assertAsGoodAsPlain({ name: "c", actual, expected, plain, floor: FLOOR });
        assertEquals(inPlace.toFloat32Array(), actual);
      });
    }
  }),
);

Deno.test(
  "gemm() gives the same bits when the number of threads changes",
  withRandom((random) => {
    const a = random.normals(150 * 300);
    const b = random.normals(110 * 300);
    assertSameForThreads((device) => {
      using memory = new GuardedMemory(device);
      const tensors = { b: memory.input("b", [110, 300], b), transposeB: true };
      const many = memory.output("c", "float32", [150, 110]);
      gemm({ ...tensors, a: memory.input("a", [150, 300], a), c: many });
      const few = memory.output("c", "float32", [7, 110]);
      gemm({ ...tensors, a: memory.input("a", [7, 300], a.subarray(0, 2100)), c: few });
      memory.check();
      return { "many rows": many.toFloat32Array(), "few rows": few.toFloat32Array() };
    });
  }),
);

Deno.test(
  "gemm() lets NaN and infinity reach the rows and columns they belong to, and no others",
  withRandom((random) => {
    for (const M of [5, 20]) {
      const a = random.normals(M * 33);
      const b = random.normals(21 * 33);
      a[2 * 33 + 32] = NaN; // row 2
      b[20 * 33 + 5] = Infinity; // column 20
      onEveryDevice((device) => {
        using memory = new GuardedMemory(device);
        const c = memory.output("c", "float32", [M, 21]);
        gemm({
          a: memory.input("a", [M, 33], a),
          b: memory.input("b", [21, 33], b),
          c,
          transposeB: true,
        });
        const finite = Array.from(c.toFloat32Array(), Number.isFinite);
        const expected = finite.map((_, i) => Math.floor(i / 21) !== 2 && i % 21 !== 20);
        assertEquals(finite, expected);
      });
    }
  }),
);

Deno.test("gemm() throws RangeError naming the tensor when shapes don't meet", () => {
  using device = openCpu();
  using memory = new GuardedMemory(device);
  const a = memory.output("left", "float32", [2, 3]);
  const b = memory.output("right", "float32", [4, 5]);
  const c = memory.output("result", "float32", [2, 5]);
  assertThrows(() => gemm({ a, b, c }), RangeError, "right must have shape (3,5)");
  assertThrows(
    () => gemm({ a, b: memory.output("b", "float32", [15]), c }),
    RangeError,
    "b must have shape (3,5)",
  );
  assertThrows(
    () => gemm({ a: memory.output("flat", "float32", [6]), b, c }),
    RangeError,
    "flat must have shape (M, K)",
  );
  memory.check();
});

Deno.test("gemm() throws TypeError when a dtype is no activation's or the two differ", () => {
  using device = openCpu();
  using memory = new GuardedMemory(device);
  const a = memory.output("a", "float32", [2, 3]);
  const c = memory.output("c", "float32", [2, 5]);
  const b = memory.output("b", "bfloat16", [3, 5]);
  assertThrows(() => gemm({ a, b, c }), TypeError, "b must be float32");
  const bytes = memory.output("bytes", "int8", [2, 3]);
  const b8 = memory.output("b", "int8", [3, 5]);
  assertThrows(() => gemm({ a: bytes, b: b8, c }), TypeError, "float32 or bfloat16");
});

Deno.test("gemm() throws NativeError and writes nothing when the CPU is given bfloat16", () => {
  using device = openCpu();
  using memory = new GuardedMemory(device);
  const a = memory.output("a", "bfloat16", [2, 3]);
  const b = memory.output("b", "bfloat16", [3, 5]);
  const c = memory.inout("c", [2, 5], new Float32Array(10));
  const error = assertThrows(() => gemm({ a, b, c }), NativeError, "float32");
  assertEquals([error.status, error.op], ["unsupported", "tb_gemm"]);
  assertEquals(c.toFloat32Array(), new Float32Array(10));
});
