import { assertEquals, assertThrows } from "@std/assert";
import { Arena } from "../../lib/tensor/arena.ts";
import { expectTensor } from "../../lib/tensor/tensor.ts";
import { openCpu } from "../support/devices.ts";

/** The numbers 0 to 11 as (4, 3), and three tensors of the same size. */
function matrix() {
  const device = openCpu();
  const arena = new Arena("test");
  const tensors = {
    x: arena.tensor("x", "float32", [4, 3]),
    y: arena.tensor("y", "float32", [2, 6]),
    words: arena.tensor("words", "int32", [4, 3]),
    short: arena.tensor("short", "float32", [11]),
  };
  arena.commit(device);
  tensors.x.upload(Float32Array.from({ length: 12 }, (_, i) => i));
  return {
    ...tensors,
    [Symbol.dispose]() {
      arena[Symbol.dispose]();
      device[Symbol.dispose]();
    },
  };
}

Deno.test("view() and rows() are the same memory under another shape", () => {
  using made = matrix();
  const { x } = made;
  assertEquals([...x.view([2, 2], { offset: 5 }).toFloat32Array()], [5, 6, 7, 8]);
  const rows = x.rows(1, 3, "middle");
  assertEquals([rows.name, [...rows.shape]], ["middle", [2, 3]]);
  assertEquals([...rows.rows(1, 2).toFloat32Array()], [6, 7, 8]);
  rows.zero();
  assertEquals([...x.toFloat32Array()], [0, 1, 2, 0, 0, 0, 0, 0, 0, 9, 10, 11]);
});

Deno.test("view() and rows() refuse what lies outside the tensor, and sizes that are none", () => {
  using made = matrix();
  const { x } = made;
  for (
    const outside of [
      () => x.view([13]),
      () => x.view([2], { offset: 11 }),
      () => x.view([2], { offset: -1 }),
      () => x.view([-1]),
      () => x.view([-2, -3]),
      () => x.view([0.5]),
      () => x.rows(3, 5),
      () => x.rows(3, 2),
    ]
  ) assertThrows(outside, RangeError, "Cannot view x (4,3) as");
  assertEquals(x.rows(4, 4).length, 0);
});

Deno.test("upload() and download() refuse another number of bytes", () => {
  using made = matrix();
  const { x } = made;
  const text = "44 bytes to or from x (4,3) float32 as it has 48 bytes";
  assertThrows(() => x.upload(new Float32Array(11)), RangeError, text);
  assertThrows(() => x.download(new Float32Array(11)), RangeError, text);
});

Deno.test("copyFrom() takes any shape of as many elements, and no other dtype or number", () => {
  using made = matrix();
  const { x, y, words, short } = made;
  y.copyFrom(x);
  assertEquals(y.toFloat32Array(), x.toFloat32Array());
  assertThrows(() => words.copyFrom(x), RangeError, "Cannot copy x (4,3) float32 to words");
  assertThrows(() => short.copyFrom(x), RangeError, "to short (11) float32");
});

Deno.test("toFloat32Array() refuses another dtype", () => {
  using made = matrix();
  assertThrows(() => made.words.toFloat32Array(), TypeError, "current dtype is int32");
});

Deno.test("expectTensor() names the op, the tensor, and what was expected and found", () => {
  using made = matrix();
  const { x } = made;
  expectTensor(x, { op: "gemm", dtype: "float32", shape: [4, 3] });
  assertThrows(
    () => expectTensor(x, { op: "gemm", dtype: "int8" }),
    TypeError,
    "Cannot run gemm as x must be int8: current dtype is float32",
  );
  for (const shape of [[3, 4], [4, 3, 1], [4]]) {
    assertThrows(
      () => expectTensor(x, { op: "gemm", shape }),
      RangeError,
      `Cannot run gemm as x must have shape (${shape}): current shape is (4,3)`,
    );
  }
});
