import { assertEquals, assertThrows } from "@std/assert";
import { packedWidth, packTernary, unpackTernary } from "../../../lib/kernels/pack_ternary.ts";
import { assertSame } from "../../support/compare.ts";
import { assertSameForThreads, onEveryDevice, openCpu } from "../../support/devices.ts";
import { withRandom } from "../../support/random.ts";
import { GuardedMemory, int32sOf, int8sOf } from "../../support/sentinel.ts";
import { pack } from "./reference.ts";

const SHAPES = [[1, 1], [3, 15], [2, 16], [5, 17], [7, 100], [4, 256], [1, 1031], [259, 300]];

Deno.test("packTernary() writes the bits of a known row", () => {
  using device = openCpu();
  using memory = new GuardedMemory(device);
  const q = Int8Array.of(-1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 1);
  const packed = memory.output("packed", "int32", [1, 2]);
  packTernary({ q: memory.input("q", [1, 17], q), packed });
  memory.check();
  // Codes 0 1 2 2 in the lowest byte, 1s, 0 in the highest two bits; then 2 and a word's rest of 1s.
  assertEquals(int32sOf(packed), Int32Array.of(0x155555a4, 0x55555556));
});

Deno.test(
  "packTernary() writes the codes of its definition when rows end inside a word",
  withRandom((random) => {
    onEveryDevice((device) => {
      for (const [rows, columns] of SHAPES as [number, number][]) {
        using memory = new GuardedMemory(device);
        const q = random.int8s(rows * columns, -1, 1);
        const packed = memory.output("packed", "int32", [rows, packedWidth(columns)]);
        packTernary({ q: memory.input("q", [rows, columns], q), packed });
        memory.check();
        assertSame({
          name: `packed ${rows} x ${columns}`,
          actual: int32sOf(packed),
          expected: pack(q, rows, columns),
          shape: packed.shape,
        });
      }
    });
  }),
);

Deno.test(
  "unpackTernary() gives back what was packed",
  withRandom((random) => {
    onEveryDevice((device) => {
      for (const [rows, columns] of SHAPES as [number, number][]) {
        using memory = new GuardedMemory(device);
        const values = random.int8s(rows * columns, -1, 1);
        const packed = pack(values, rows, columns);
        const q = memory.output("q", "int8", [rows, columns]);
        unpackTernary({ packed: memory.input("packed", [rows, packedWidth(columns)], packed), q });
        memory.check();
        assertSame({ name: "q", actual: int8sOf(q), expected: values, shape: [rows, columns] });
      }
    });
  }),
);

Deno.test("unpackTernary() gives 2 for code 3, in every place of a word", () => {
  onEveryDevice((device) => {
    using memory = new GuardedMemory(device);
    const q = memory.output("q", "int8", [16, 16]);
    const words = Int32Array.from({ length: 16 }, (_, j) => 3 << (2 * j));
    unpackTernary({ packed: memory.input("packed", [16, 1], words), q });
    const expected = Int8Array.from({ length: 256 }, (_, i) => i % 17 === 0 ? 2 : -1);
    assertEquals(int8sOf(q), expected);
  });
});

Deno.test(
  "packTernary() gives the same bits when the number of threads changes",
  withRandom((random) => {
    const values = random.int8s(301 * 307, -1, 1);
    assertSameForThreads((device) => {
      using memory = new GuardedMemory(device);
      const packed = memory.output("packed", "int32", [301, packedWidth(307)]);
      const q = memory.output("q", "int8", [301, 307]);
      packTernary({ q: memory.input("q", [301, 307], values), packed });
      unpackTernary({ packed, q });
      memory.check();
      return { packed: int32sOf(packed), q: int8sOf(q) };
    });
  }),
);

Deno.test("packTernary() throws RangeError when packed has another width", () => {
  using device = openCpu();
  using memory = new GuardedMemory(device);
  const q = memory.output("q", "int8", [2, 17]);
  const packed = memory.output("packed", "int32", [2, 1]);
  assertThrows(() => packTernary({ q, packed }), RangeError, "packed must have shape (2,2)");
  assertThrows(() => unpackTernary({ q, packed }), RangeError, "packed must have shape (2,2)");
  memory.check();
});
