import { assert, assertThrows } from "@std/assert";
import { NativeError } from "../../lib/ffi/errors.ts";
import { DeviceEvent } from "../../lib/ffi/event.ts";
import { Graph } from "../../lib/ffi/graph.ts";
import { openCpu } from "../support/devices.ts";

Deno.test("DeviceEvent tells the time between two points when the CPU was busy between them", () => {
  using device = openCpu();
  using from = new DeviceEvent(device);
  using to = new DeviceEvent(device);
  from.record();
  const start = performance.now();
  while (performance.now() - start < 5);
  to.record();
  const elapsed = to.millisecondsSince(from);
  assert(elapsed >= 4.9 && elapsed < 5000, `elapsed ${elapsed} ms`);
  assert(from.millisecondsSince(to) < 0);
});

Deno.test("DeviceEvent refuses to be used when it was disposed of", () => {
  using device = openCpu();
  const event = new DeviceEvent(device);
  event[Symbol.dispose]();
  event[Symbol.dispose]();
  assertThrows(() => event.record(), Error, "disposed");
});

Deno.test("Graph.record() says that graphs are unsupported when the device is the CPU, and runs nothing", () => {
  using device = openCpu();
  let ran = false;
  const error = assertThrows(
    () => Graph.record(device, () => ran = true),
    NativeError,
    "the CPU build runs ops at once",
  );
  assert(error.status === "unsupported" && !ran && !Graph.isSupported(device));
});
