import { assertEquals, assertRejects } from "@std/assert";
import { InteropError } from "../../lib/interop/errors.ts";
import { CHUNK_BYTES, type TensorReader, type TensorSink } from "../../lib/interop/safetensors.ts";
import type { SafetensorsDtype, TensorSpec } from "../../lib/interop/safetensors_header.ts";
import {
  compareTensors,
  loadTensors,
  narrowToBfloat16,
  widenToFloat32,
} from "../../lib/interop/tensor_transfer.ts";

function readerOf(tensors: (TensorSpec & { data: Uint8Array })[]): TensorReader {
  return {
    path: "m.safetensors",
    tensors: new Map(tensors.map((t) => [t.name, { ...t, begin: 0, end: t.data.length }])),
    readInto: (name, into, offset) => {
      const { data } = tensors.find((tensor) => tensor.name === name)!;
      into.set(data.subarray(offset, offset + into.length));
      return Promise.resolve();
    },
  };
}

function sinkOf(name: string, shape: number[], dtype: SafetensorsDtype = "F32") {
  const data = new Uint8Array(4 * shape.reduce((a, b) => a * b, 1)).fill(0xaa);
  const sink: TensorSink = {
    name,
    shape,
    dtype,
    write: (from, offset) => data.set(from, offset),
  };
  return { sink, data };
}

Deno.test("widenToFloat32() widens every bfloat16 exactly", () => {
  const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const wide = new Uint32Array(widenToFloat32(new Uint8Array(all.buffer), "BF16").buffer);
  assertEquals(wide.every((bits, i) => bits === i * 65536), true);
});

Deno.test("narrowToBfloat16() rounds to nearest even, and keeps every bfloat16 that it is given", () => {
  const narrow = (...bits: number[]) => [
    ...new Uint16Array(narrowToBfloat16(new Uint8Array(Uint32Array.from(bits).buffer)).buffer),
  ];
  const all = Array.from({ length: 65536 }, (_, i) => i);
  const isNaN = (i: number) => (i & 0x7fff) > 0x7f80;
  const kept = narrow(...all.map((i) => i * 65536));
  assertEquals(kept.filter((bits, i) => bits !== (isNaN(i) ? i | 0x40 : i)), []);
  assertEquals(narrow(0x3f808000, 0x3f818000, 0x3f808001, 0x3f817fff), [
    0x3f80,
    0x3f82,
    0x3f81,
    0x3f81,
  ]);
  assertEquals(
    narrow(0x7f7fffff, 0xff7fffff, 0xffffffff),
    [0x7f80, 0xff80, 0xffff],
    "overflow, NaN",
  );
});

Deno.test("widenToFloat32() widens every float16 to the value its bits stand for", () => {
  const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const wide = new Float32Array(widenToFloat32(new Uint8Array(all.buffer), "F16").buffer);
  for (let bits = 0; bits < 65536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    const value = exponent === 31
      ? (fraction === 0 ? sign * Infinity : NaN)
      : exponent === 0
      ? sign * fraction * 2 ** -24
      : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
    if (!Object.is(wide[bits], value)) assertEquals(wide[bits], value, `bits ${bits}`);
  }
});

Deno.test("loadTensors() widens across chunks to the right places", async () => {
  const count = CHUNK_BYTES / 2 + 5; // half-width elements: one chunk and a little
  const half = Uint16Array.from({ length: count }, (_, i) => (i * 2654435761) >>> 16);
  const data = new Uint8Array(half.buffer);
  const reader = readerOf([{ name: "a", shape: [count], dtype: "BF16", data }]);
  const target = sinkOf("a", [count]);
  await loadTensors(reader, [target.sink]);
  const wide = new Uint32Array(target.data.buffer);
  assertEquals(wide.every((bits, i) => bits === half[i]! << 16 >>> 0), true);
});

const GOOD = { name: "a", shape: [2, 3], dtype: "F32" as const, data: new Uint8Array(24) };

const SQUARE = { shape: [2, 2], dtype: "F32" as const };

Deno.test("compareTensors() tells of the first tensors that differ and counts the others", () => {
  const names = [..."abcdefg"];
  const found = new Map(names.map((name) => [name, { ...SQUARE, name }]));
  const wanted = names.map((name) => ({ ...SQUARE, name, shape: [2, 3] }));
  const problems = compareTensors(found, wanted);
  assertEquals(problems.length, 4);
  assertEquals(problems[0], 'tensor "a" must have the shape [2, 3]: current value is [2, 2]');
  assertEquals(problems[3], "4 more tensors differ so");
  assertEquals(compareTensors(found, wanted.slice(0, 4)).at(-2), "1 more tensor differs so");
});

const REFUSED: [string, TensorReader, string][] = [
  ["one is missing", readerOf([GOOD]), `1 tensor missing: "b"`],
  [
    "one is not known",
    readerOf([GOOD, { ...GOOD, name: "b" }, { ...GOOD, name: "c" }]),
    `1 tensor not part of the model: "c"`,
  ],
  [
    "a shape is transposed",
    readerOf([GOOD, { ...GOOD, name: "b", shape: [3, 2] }]),
    `tensor "b" must have the shape [2, 3]: current value is [3, 2]`,
  ],
  [
    "a dtype cannot be widened",
    readerOf([GOOD, { ...GOOD, name: "b", dtype: "F64" }]),
    `tensor "b" must be readable as F32: current value is F64`,
  ],
];

for (const [what, reader, message] of REFUSED) {
  Deno.test(`loadTensors() throws and writes nothing when ${what}`, async () => {
    const a = sinkOf("a", [2, 3]);
    const b = sinkOf("b", [2, 3]);
    await assertRejects(() => loadTensors(reader, [a.sink, b.sink]), InteropError, message);
    assertEquals(a.data.every((byte) => byte === 0xaa), true);
  });
}

Deno.test("loadTensors() lists five names at most", async () => {
  const sinks = Array.from({ length: 9 }, (_, i) => sinkOf(`t${i}`, [1]).sink);
  await assertRejects(
    () => loadTensors(readerOf([]), sinks),
    InteropError,
    `9 tensors missing: "t0", "t1", "t2", "t3", "t4" and 4 more`,
  );
});
