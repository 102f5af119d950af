import { assertEquals, assertThrows } from "@std/assert";
import { MetricLog } from "../../lib/model/metric_log.ts";
import { Arena } from "../../lib/tensor/arena.ts";
import { openCpu } from "../support/devices.ts";

Deno.test("MetricLog gives numbers to one record, and asks functions and tensors for every one", () => {
  using device = openCpu();
  const arena = new Arena("test");
  const tensor = arena.tensor("norm", "float32", [1]);
  using _memory = arena.commit(device);
  const metrics = new MetricLog();
  assertEquals(metrics.take(), null);
  let asked = 0;
  metrics.log({ once: 1, "layers.3.norm": tensor, asked: () => ++asked });
  metrics.log({ once: 2 });
  tensor.upload(Float32Array.of(0.5));
  assertEquals(asked, 0);
  assertEquals(metrics.take(), { "layers.3.norm": 0.5, asked: 1, once: 2 });
  tensor.upload(Float32Array.of(0.25));
  assertEquals(metrics.take(), { "layers.3.norm": 0.25, asked: 2 });
});

Deno.test("MetricLog gives null for what is not finite", () => {
  const metrics = new MetricLog();
  metrics.log({ a: NaN, b: -Infinity, c: () => Infinity, d: 0 });
  assertEquals(metrics.take(), { a: null, b: null, c: null, d: 0 });
});

for (
  const name of [
    "",
    "Loss",
    "1st",
    "a b",
    "a/b",
    "a..b",
    "a.",
    ".a",
    "_a",
    "é",
    "a-b",
    "a".repeat(101),
  ]
) {
  Deno.test(`MetricLog refuses the name ${JSON.stringify(name)}, and all that is logged with it`, () => {
    const metrics = new MetricLog();
    assertThrows(
      () => metrics.log({ sound: 1, [name]: 1 }),
      RangeError,
      `current value is ${JSON.stringify(name)}`,
    );
    assertEquals(metrics.take(), null);
  });
}

Deno.test("MetricLog refuses names that Prometheus could not tell apart", () => {
  const metrics = new MetricLog();
  metrics.log({ "a.b_c": 1 });
  metrics.log({ "a.b_c": 2 });
  assertThrows(() => metrics.log({ "a_b.c": 1 }), RangeError, "a.b_c was logged before");
});

Deno.test("MetricLog refuses what is no value when it is logged, and a function that gives none when it is asked", () => {
  const arena = new Arena("test");
  const metrics = new MetricLog();
  const log = (value: unknown) => metrics.log({ x: value as number });
  assertThrows(() => log(arena.tensor("t", "float32", [2])), RangeError, "must have shape (1)");
  assertThrows(() => log(arena.tensor("t", "int32", [1])), TypeError, "must be float32");
  assertThrows(() => log("1"), TypeError, "current value is string");
  assertThrows(() => log(null), TypeError, "current value is null");
  assertEquals(metrics.take(), null);
  log(() => "1");
  assertThrows(
    () => metrics.take(),
    TypeError,
    "Cannot record x as its function must give a number",
  );
});
