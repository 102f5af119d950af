import { assertEquals, assertThrows } from "@std/assert";
import { Arena } from "../../lib/tensor/arena.ts";
import { openCpu } from "../support/devices.ts";

Deno.test("Arena lays tensors out behind each other, each at a whole cache line", () => {
  using device = openCpu();
  using arena = new Arena("test");
  const tensors = [
    arena.tensor("bytes", "int8", [65]),
    arena.tensor("words", "float32", [16]),
    arena.tensor("empty", "float32", [0, 3]),
    arena.tensor("halves", "bfloat16", [1]),
  ];
  assertEquals(arena.bytes, 128 + 64 + 0 + 64);
  arena.commit(device);
  const offsets = tensors.map(({ address }) => Number(address - arena.address));
  assertEquals(offsets, [0, 128, 192, 192]);
  assertEquals(Number(arena.address % 64n), 0);
});

Deno.test("Arena.scope() shares memory between what lives at different times, and takes the most of them", () => {
  using device = openCpu();
  using arena = new Arena("test");
  const kept = arena.tensor("kept", "int8", [64]);
  const first = arena.scope(() => arena.tensor("first", "int8", [640]));
  const second = arena.scope(() => arena.tensor("second", "int8", [128]));
  const later = arena.tensor("later", "int8", [64]);
  assertEquals(arena.bytes, 64 + 640);
  arena.commit(device);
  assertEquals([first.address, second.address, later.address], [
    kept.address + 64n,
    kept.address + 64n,
    kept.address + 64n,
  ]);
});

Deno.test("Arena goes on where a scope began when its plan throws", () => {
  const arena = new Arena("test");
  assertThrows(
    () =>
      arena.scope(() => {
        arena.tensor("lost", "int8", [64]);
        throw new Error("no plan");
      }),
    Error,
    "no plan",
  );
  arena.tensor("next", "int8", [64]);
  assertEquals(arena.bytes, 64);
});

Deno.test("Arena.commit() takes memory full of zeros, and zero() makes it so again", () => {
  using device = openCpu();
  using arena = new Arena("test");
  const tensor = arena.tensor("x", "int32", [40]);
  arena.commit(device);
  assertEquals(tensor.download(new Int32Array(40)), new Int32Array(40));
  tensor.upload(new Int32Array(40).fill(7));
  arena.zero();
  assertEquals(tensor.download(new Int32Array(40)), new Int32Array(40));
});

Deno.test("Arena says what to do when its memory is not taken, or is taken already", () => {
  using device = openCpu();
  using arena = new Arena("activations");
  const tensor = arena.tensor("x", "float32", [2]);
  assertThrows(() => tensor.address, Error, "Cannot use activations as its memory is planned");
  arena.commit(device);
  assertThrows(
    () => arena.tensor("y", "float32", [2]),
    Error,
    "Cannot plan y as the memory of activations is already taken",
  );
  assertThrows(() => arena.commit(device), Error, "memory of activations as it is already taken");
  arena[Symbol.dispose]();
  arena[Symbol.dispose]();
  assertThrows(() => arena.address, Error, "commit it first");
});
