import { assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { benchProduct } from "../../lib/bench/product_bench.ts";
import { makeProduct, PRODUCTS } from "../../lib/bench/products.ts";
import { OpenBlas } from "../../lib/ffi/openblas.ts";
import { command } from "../../tasks/bench.ts";
import { parseCommand } from "../../lib/cli/command.ts";
import { openCpu } from "../support/devices.ts";

const SIZES = { rows: 13, columns: 21, depth: 40 };
const openblas = OpenBlas.open();

for (const name of PRODUCTS) {
  Deno.test(`makeProduct() knows in FP64 what ${name} has to give`, () => {
    using device = openCpu();
    using product = makeProduct(device, name, SIZES);
    product.run();
    const result = product.result.toFloat32Array();
    for (let row = 0; row < SIZES.rows; row++) {
      for (let column = 0; column < SIZES.columns; column++) {
        const { value, magnitude } = product.exact(row, column);
        assertAlmostEquals(result[row * SIZES.columns + column]!, value, 1e-6 * magnitude);
      }
    }
  });
}

Deno.test({
  name: "OpenBlas.sgemm() multiplies the operands that makeProduct() prepares for it",
  ignore: openblas === null,
  fn() {
    using device = openCpu();
    for (const name of PRODUCTS) {
      using product = makeProduct(device, name, SIZES);
      openblas!.sgemm({
        a: product.a.address,
        b: product.b.address,
        c: product.rivalResult.address,
        M: SIZES.rows,
        N: SIZES.columns,
        K: SIZES.depth,
        transposeA: product.transposeA,
        transposeB: product.transposeB,
      });
      const { value, magnitude } = product.exact(12, 20);
      const last = product.rivalResult.toFloat32Array().at(-1)!;
      assertAlmostEquals(last, value, 1e-6 * magnitude);
    }
  },
});

Deno.test("benchProduct() gives rates that fit its times", async () => {
  const row = await benchProduct("gemm", { sizes: SIZES, threads: 1, repeat: 1, openblas: null });
  assertEquals([row.op, row.rows, row.columns, row.depth], ["gemm", 13, 21, 40]);
  assertAlmostEquals(row.ours_gop_per_s * row.ours_us * 1e3, 2 * 13 * 21 * 40, 1);
  assertEquals([row.openblas_us, row.speedup], [null, null]);
});

Deno.test("bench rejects numbers of threads that are none", async () => {
  const args = parseCommand(command, ["--suite", "cpu", "--threads", "1,x"]);
  await assertRejects(async () => void (await command.run(args)), Error, "current value is 1,x");
});
