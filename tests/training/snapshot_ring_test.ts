import { assertEquals, assertThrows } from "@std/assert";
import { hostMemory } from "../../lib/training/host_memory.ts";
import {
  type CopiedTensor,
  SnapshotRing,
  whyNotInMemory,
} from "../../lib/training/snapshot_ring.ts";

/** A tensor of three bytes that a test sets and sees. */
function tensor(): CopiedTensor & { values: number[] } {
  return {
    name: "t",
    shape: [3],
    dtype: "U8",
    values: [0, 0, 0],
    read(into) {
      into.set(this.values);
    },
    write(from) {
      this.values = [...from];
    },
  };
}

Deno.test("restore() brings back what take() copied", () => {
  const [a, b] = [tensor(), tensor()];
  const ring = new SnapshotRing([a, b], { capacity: 2 });
  a.values = [1, 2, 3];
  b.values = [4, 5, 6];
  ring.take(10);
  a.values = b.values = [9, 9, 9];
  ring.take(20);
  ring.restore(10);
  assertEquals([a.values, b.values], [[1, 2, 3], [4, 5, 6]]);
});

Deno.test("take() makes room by letting the oldest copy go", () => {
  const ring = new SnapshotRing([tensor()], { capacity: 2 });
  for (const step of [10, 20, 30]) ring.take(step);
  assertEquals([10, 20, 30].map((step) => ring.has(step)), [false, true, true]);
});

Deno.test("take() copies a step anew that it holds already", () => {
  const a = tensor();
  const ring = new SnapshotRing([a], { capacity: 2 });
  for (const [step, value] of [[10, 1], [20, 2], [20, 3]] as const) {
    a.values = [value, value, value];
    ring.take(step);
  }
  assertEquals(ring.has(10), true, "the other copy had to make room");
  ring.restore(20);
  assertEquals(a.values, [3, 3, 3]);
});

Deno.test("take() does not write into a copy that is still held", () => {
  const a = tensor();
  const ring = new SnapshotRing([a], { capacity: 2 });
  for (const step of [1, 2, 3]) {
    a.values = [step, step, step];
    ring.take(step);
  }
  ring.restore(2);
  assertEquals(a.values, [2, 2, 2]);
});

Deno.test("retain() lets every other copy go", () => {
  const ring = new SnapshotRing([tensor()], { capacity: 3 });
  for (const step of [10, 20, 30]) ring.take(step);
  ring.retain([20, 99]);
  assertEquals([10, 20, 30].map((step) => ring.has(step)), [false, true, false]);
});

Deno.test("bytes are those of all copies that it may hold", () => {
  assertEquals(new SnapshotRing([tensor(), tensor()], { capacity: 3 }).bytes, 18);
});

Deno.test("take() keeps nothing when there is room for none", () => {
  const ring = new SnapshotRing([tensor()], { capacity: 0 });
  ring.take(10);
  assertEquals(ring.has(10), false);
});

Deno.test("pin() holds a copy beyond the capacity until it is not asked for", () => {
  const a = tensor();
  const ring = new SnapshotRing([a], { capacity: 1 });
  a.values = [1, 1, 1];
  assertEquals(ring.pin(10, null), true);
  for (const step of [20, 30]) {
    a.values = [step, step, step];
    ring.take(step);
  }
  assertEquals([10, 20, 30].map((step) => ring.has(step)), [true, false, true]);
  ring.restore(10);
  assertEquals(a.values, [1, 1, 1]);
  ring.retain([30]);
  assertEquals([10, 30].map((step) => ring.has(step)), [false, true]);
});

Deno.test("pin() keeps the copy that there is", () => {
  const a = tensor();
  const ring = new SnapshotRing([a], { capacity: 1 });
  a.values = [1, 2, 3];
  ring.take(10);
  a.values = [9, 9, 9];
  assertEquals(ring.pin(10, 0), true);
  ring.restore(10);
  assertEquals(a.values, [1, 2, 3]);
  ring.unpin(10);
  assertEquals(ring.has(10), false);
});

Deno.test("pin() takes no copy when the host has no memory for it", () => {
  const ring = new SnapshotRing([tensor()], { capacity: 0 });
  assertEquals([ring.pin(10, 5), ring.has(10)], [false, false]);
  assertEquals([ring.pin(10, 6), ring.has(10)], [true, true]);
});

Deno.test("restore() refuses a step that it does not hold", () => {
  assertThrows(() => new SnapshotRing([], { capacity: 1 }).restore(3), RangeError, "step 3");
});

Deno.test("hostMemory() is what the system says", () => {
  const bytes = hostMemory()?.available ?? null;
  assertEquals(bytes !== null && bytes > 2 ** 20 && bytes <= Deno.systemMemoryInfo().total, true);
});

Deno.test("whyNotInMemory() refuses a ring of more than half of what is available", () => {
  const ring = { bytes: 2 ** 30, capacity: 2 };
  assertEquals(whyNotInMemory(ring, 2 ** 31), null);
  assertEquals(whyNotInMemory(ring, null), null);
  assertEquals(
    whyNotInMemory(ring, 2 ** 31 - 1),
    "2 snapshots would take 1.0 GiB of host memory, more than half of the 2.0 GiB that are available: " +
      "rollbacks go to checkpoints alone; lower checkpoint.every_steps so that less is undone",
  );
});
