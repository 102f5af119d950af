import { assert, assertEquals } from "@std/assert";
import { countSets, timeLaunches } from "../../lib/bench/launch_timing.ts";
import { cudaTest, openCpu } from "../support/devices.ts";

Deno.test("countSets() takes more than twice the cache, one set at least, and has a limit", () => {
  assertEquals(countSets(100, 0), 1);
  assertEquals(countSets(1000, 400), 1);
  assertEquals(countSets(100, 100), 3);
  assertEquals(countSets(99, 100), 3);
  assert(countSets(64, 1 << 30) * 64 < 1 << 20);
});

/** Takes as long as it says. */
function busy(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

Deno.test("timeLaunches() gives the time of one launch, quartiles around the median", () => {
  using device = openCpu();
  const calls = [0, 0];
  const [slow, fast] = timeLaunches(device, [
    { name: "slow", runs: [() => (calls[0]!++, busy(2))] },
    { name: "fast", runs: [() => (calls[1]!++, busy(0.2)), () => (calls[1]!++, busy(0.2))] },
  ], { repeat: 5, sampleMs: 1 });
  // Correctness, not speed: a machine that is busy may take longer, never less.
  assert(slow!.us >= 2000 && fast!.us >= 200, `${slow!.us}, ${fast!.us}`);
  for (const { us, us_q1, us_q3 } of [slow!, fast!]) assert(us_q1 <= us && us <= us_q3);
  // Once to load, twice to count, and two launches a round.
  assertEquals(calls[0], 1 + 2 + 2 * 5);
  assertEquals(calls[1]! % 2, 0);
});

Deno.test("timeLaunches() launches every set as often", () => {
  using device = openCpu();
  const calls = [0, 0, 0];
  timeLaunches(device, [{ name: "sets", runs: calls.map((_, i) => () => void calls[i]!++) }], {
    repeat: 2,
    sampleMs: 0.01,
  });
  assert(calls[0]! > 0);
  assertEquals(calls, [calls[0]!, calls[0]!, calls[0]!]);
});

cudaTest("timeLaunches() times a copy on the card longer than none", (device) => {
  const bytes = 64 << 20;
  const from = device.alloc(bytes), to = device.alloc(bytes);
  const [large, small] = timeLaunches(device, [
    { name: "large", runs: [() => device.copy(to, from, bytes)] },
    { name: "small", runs: [() => device.copy(to, from, 64)] },
  ], { repeat: 5 });
  device.free(from);
  device.free(to);
  assert(small!.us > 0 && large!.us > small!.us, `${large!.us}, ${small!.us}`);
});
