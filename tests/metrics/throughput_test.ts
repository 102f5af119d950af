import { assertEquals, assertThrows } from "@std/assert";
import { ThroughputMeter } from "../../lib/metrics/throughput.ts";

Deno.test("ThroughputMeter divides tokens by time, so that a long step weighs more", () => {
  const meter = new ThroughputMeter({ warmup: 0 });
  meter.add({ tokens: 100, ms: 100 });
  meter.add({ tokens: 100, ms: 900 });
  assertEquals([meter.tokensPerS, meter.stepMs], [200, 500]);
});

Deno.test("ThroughputMeter leaves warm-up steps out as soon as there are others", () => {
  const meter = new ThroughputMeter({ warmup: 1 });
  meter.add({ tokens: 100, ms: 10_000 });
  assertEquals(meter.tokensPerS, 10);
  meter.add({ tokens: 100, ms: 100 });
  assertEquals(meter.tokensPerS, 1000);
});

Deno.test("ThroughputMeter forgets steps before its window, but not in the totals", () => {
  const meter = new ThroughputMeter({ window: 2, warmup: 0 });
  for (const ms of [1000, 100, 100]) meter.add({ tokens: 100, ms });
  assertEquals([meter.tokensPerS, meter.averageTokensPerS, meter.totalTokens], [1000, 250, 300]);
});

Deno.test("ThroughputMeter divides what was measured together among its steps", () => {
  const meter = new ThroughputMeter({ warmup: 0 });
  meter.add({ tokens: 300, ms: 300, steps: 3 });
  meter.add({ tokens: 100, ms: 500 });
  assertEquals([meter.tokensPerS, meter.stepMs], [500, 200]);
});

Deno.test("ThroughputMeter is 0 before any step", () => {
  const meter = new ThroughputMeter();
  assertEquals([meter.tokensPerS, meter.stepMs, meter.averageTokensPerS], [0, 0, 0]);
});

Deno.test("ThroughputMeter refuses a window of 0", () => {
  assertThrows(() => new ThroughputMeter({ window: 0 }), RangeError, "current value is 0");
});
