/** The card's memory, graphs and events. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Device } from "../../lib/ffi/device.ts";
import { NativeError } from "../../lib/ffi/errors.ts";
import { DeviceEvent } from "../../lib/ffi/event.ts";
import { Graph } from "../../lib/ffi/graph.ts";
import { norm, sum } from "../../lib/kernels/reduce.ts";
import { Arena } from "../../lib/tensor/arena.ts";
import { assertSameBits } from "../support/compare.ts";
import { cudaTest } from "../support/devices.ts";
import { GuardedMemory } from "../support/sentinel.ts";

cudaTest("copies of any length come back as they went", (device, random) => {
  // A slot of the way to the card has 1 MiB, and there are 8.
  for (const bytes of [1, 3, 2 ** 20 - 1, 2 ** 20 + 1, 9 * 2 ** 20 + 5]) {
    const values = Uint8Array.from({ length: bytes }, () => random.word());
    const address = device.alloc(bytes);
    device.upload(address, values);
    const back = new Uint8Array(bytes);
    device.download(back, address);
    assertSameBits({ name: `${bytes} bytes`, actual: back, expected: values });
    device.free(address);
  }
});

cudaTest("an upload leaves the host array free at once", (device) => {
  const address = device.alloc(4 * 1000);
  const values = new Float32Array(1000);
  for (let round = 1; round <= 50; round++) {
    device.upload(address, values.fill(round));
    values.fill(-1);
  }
  const back = new Float32Array(1000);
  device.download(back, address);
  assertEquals(back, new Float32Array(1000).fill(50));
  device.free(address);
});

cudaTest("alloc() says what was asked for and what is free when memory ends", (device) => {
  const error = assertThrows(() => device.alloc(2 ** 50), NativeError, "1048576.00 GiB");
  assertEquals(error.status, "out of memory");
  assert(error.message.includes(device.description.name));
  device.free(device.alloc(256)); // the device goes on
});

cudaTest("memory() falls by what is allocated and comes back", (device) => {
  const before = device.memory();
  assert(before.freeBytes > 0 && before.freeBytes <= before.totalBytes);
  const bytes = 2 ** 30;
  const address = device.alloc(bytes);
  const during = device.memory();
  assertEquals(during.totalBytes, before.totalBytes);
  // Others on the card may take or give some meanwhile.
  assert(Math.abs(before.freeBytes - during.freeBytes - bytes) < 2 ** 28);
  device.free(address);
});

cudaTest("alloc() aligns to 256 bytes", (device) => {
  const addresses = [1, 100, 1000].map((bytes) => device.alloc(bytes));
  assertEquals(addresses.map((address) => address % 256n), [0n, 0n, 0n]);
  addresses.forEach((address) => device.free(address));
});

cudaTest("Graph replays its ops on what their memory holds at the launch", (device) => {
  using memory = new GuardedMemory(device);
  const x = memory.inout("x", [5], Float32Array.of(1, 2, 3, 4, 5));
  const out = memory.inout("out", [1], Float32Array.of(0));
  sum({ x, out }); // warm
  out.zero();
  using graph = Graph.record(device, () => sum({ x, out, accumulate: true }));
  assertEquals([...out.toFloat32Array()], [0]);
  graph.launch();
  graph.launch();
  assertEquals([...out.toFloat32Array()], [30]);
  x.upload(Float32Array.of(1, 1, 1, 1, 1));
  graph.launch();
  assertEquals([...out.toFloat32Array()], [35]);
});

cudaTest("Graph.record() refuses copies, and the device goes on", (device) => {
  using memory = new GuardedMemory(device);
  const x = memory.inout("x", [2], Float32Array.of(3, 4));
  const out = memory.output("out", "float32", [1]);
  const refused = [
    () => x.toFloat32Array(),
    () => x.upload(new Float32Array(2)),
    () => device.synchronize(),
  ];
  for (const copy of refused) {
    assertThrows(() => Graph.record(device, copy), NativeError, "recorded");
  }
  norm({ x, out });
  assertEquals([...out.toFloat32Array()], [5]);
});

cudaTest("DeviceEvent measures ops, also inside of a graph", (device) => {
  using arena = new Arena("test");
  const x = arena.tensor("x", "float32", [64 << 20]);
  const out = arena.tensor("out", "float32", [1]);
  arena.commit(device);
  using before = new DeviceEvent(device);
  using after = new DeviceEvent(device);
  const run = () => {
    before.record();
    sum({ x, out });
    after.record();
  };
  run();
  const direct = after.millisecondsSince(before);
  using graph = Graph.record(device, run);
  graph.launch();
  const recorded = after.millisecondsSince(before);
  // 256 MiB: between 10 TB/s and 10 GB/s.
  for (const elapsed of [direct, recorded]) assert(elapsed > 0.02 && elapsed < 30, `${elapsed} ms`);
});

cudaTest("Device.open() names the cards that there are when the index is beyond them", () => {
  assertThrows(() => Device.open({ kind: "cuda", index: 99 }), NativeError, "cards 0 to");
});
