/** Rows of the embedding table on the card: large tables, frequent ids, gradients of bfloat16, ids that the table lacks. */

import { assertEquals } from "@std/assert";
import type { Device } from "../../../lib/ffi/device.ts";
import { embeddingBackward, embeddingForward } from "../../../lib/kernels/embedding.ts";
import { type Activation, ACTIVATIONS, normalsOf, stored } from "../../support/activation.ts";
import { assertSame } from "../../support/compare.ts";
import { cudaTest } from "../../support/devices.ts";
import { GuardedMemory } from "../../support/sentinel.ts";

const SHAPES = [
  { N: 4001, D: 8, V: 3 },
  { N: 1500, D: 772, V: 600 },
  { N: 40_000, D: 4, V: 50_257 },
  { N: 300, D: 35, V: 128_256 },
];

function runBackward(
  device: Device,
  { D, V }: { D: number; V: number },
  options: {
    ids: Int32Array<ArrayBuffer>;
    dout: Float32Array<ArrayBuffer>;
    dtable: Float32Array<ArrayBuffer>;
    dtype: Activation;
  },
) {
  const { ids, dout, dtype } = options;
  using memory = new GuardedMemory(device);
  const dtable = memory.inout("dtable", [V, D], options.dtable);
  embeddingBackward({
    ids: memory.input("ids", [ids.length], ids),
    dout: memory.input("dout", [ids.length, D], stored(dout, dtype)),
    dtable,
  });
  memory.check();
  return dtable.toFloat32Array();
}

for (const dtype of ACTIVATIONS) {
  cudaTest(
    `embeddingBackward() of ${dtype} adds rows in the order of their tokens, as plain float32 does`,
    (device, random) => {
      for (const { N, D, V } of SHAPES) {
        const ids = random.int32s(N, 0, V - 1);
        const dout = normalsOf(random, N * D, { dtype });
        const expected = new Float32Array(V * D).fill(0.25);
        const dtable = expected.slice();
        ids.forEach((id, row) => {
          for (let j = 0; j < D; j++) expected[id * D + j]! += dout[row * D + j]!;
        });
        const actual = runBackward(device, { D, V }, { ids, dout, dtable, dtype });
        assertSame({ name: `dtable of ${JSON.stringify({ N, D, V })}`, actual, expected });
      }
    },
  );
}

cudaTest("embeddingForward() copies rows of large tables", (device, random) => {
  for (const { N, D, V } of SHAPES) {
    const ids = random.int32s(N, 0, V - 1);
    const table = random.normals(V * D);
    using memory = new GuardedMemory(device);
    const out = memory.output("out", "float32", [N, D]);
    embeddingForward({
      ids: memory.input("ids", [N], ids),
      table: memory.input("table", [V, D], table),
      out,
    });
    memory.check();
    const expected = new Float32Array(N * D);
    ids.forEach((id, row) => expected.set(table.subarray(id * D, (id + 1) * D), row * D));
    assertSame({ name: "out", actual: out.toFloat32Array(), expected });
  }
});

cudaTest("embedding shows ids that the table lacks as NaN, and skips them backward", (device) => {
  using memory = new GuardedMemory(device);
  const ids = Int32Array.of(1, -1, 0, 4, 2 ** 31 - 1, 1);
  const table = Float32Array.from({ length: 8 }, (_, i) => i);
  const out = memory.output("out", "float32", [6, 2]);
  embeddingForward({
    ids: memory.input("ids", [6], ids),
    table: memory.input("table", [4, 2], table),
    out,
  });
  memory.check();
  assertEquals(
    [...out.toFloat32Array()],
    [2, 3, NaN, NaN, 0, 1, NaN, NaN, NaN, NaN, 2, 3],
  );
  const dout = Float32Array.from({ length: 12 }, (_, i) => i + 1);
  const dtable = runBackward(device, { D: 2, V: 4 }, {
    ids,
    dout,
    dtable: new Float32Array(8),
    dtype: "float32",
  });
  assertEquals([...dtable], [5, 6, 1 + 11, 2 + 12, 0, 0, 0, 0]);
});
