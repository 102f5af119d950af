import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { downsample } from "../../lib/history/downsample.ts";
import { smooth } from "../../lib/history/smoothing.ts";
import { StepSeries } from "../../lib/history/step_series.ts";

function series(losses: readonly number[]): StepSeries {
  const made = new StepSeries();
  const loss = made.column("loss");
  losses.forEach((value, index) => {
    made.values[0] = index + 1;
    made.values[loss] = value;
    made.append();
  });
  return made;
}

Deno.test("downsample() gives rows as they are when they are few", () => {
  assertEquals(downsample(series([3, NaN, 1]), { from: 0, to: 3, points: 3 }), {
    step: [1, 2, 3],
    loss: [3, null, 1],
  });
});

Deno.test("downsample() keeps every spike and dip, near its step, in rising steps", () => {
  const losses = Array.from({ length: 10_000 }, (_, index) => 2 + Math.sin(index / 100));
  losses[3333] = 50;
  losses[7777] = -9;
  const { step, loss } = downsample(series(losses), { from: 0, to: losses.length, points: 400 });
  assert(step!.length <= 400);
  assertEquals(step, [...new Set(step)].sort((a, b) => a! - b!));
  for (const [value, at] of [[50, 3334], [-9, 7778]] as const) {
    assert(Math.abs(step![loss!.indexOf(value)]! - at) <= 50);
  }
});

Deno.test("downsample() gives the part that is asked for", () => {
  const made = series(Array.from({ length: 1000 }, (_, index) => index));
  const { step, loss } = downsample(made, { from: 100, to: 900, points: 10 });
  assertEquals([step![0], step!.at(-1), loss![0], loss!.at(-1)], [101, 900, 100, 899]);
});

Deno.test("downsample() gives null where a bucket has no number", () => {
  const { loss } = downsample(series(new Array(100).fill(NaN)), { from: 0, to: 100, points: 4 });
  assertEquals(loss, [null, null, null, null]);
});

Deno.test("smooth() is the weighted mean of what there was, from the first value on", () => {
  const { values, state } = smooth(Float64Array.of(5, NaN, 8), 3);
  assertAlmostEquals(values[0]!, 5, 1e-12);
  assertAlmostEquals(values[1]!, 5, 1e-12);
  assertAlmostEquals(values[2]!, (5 + 2 * 8) / 3, 1e-12);
  assertAlmostEquals(state.sum / state.weight, values[2]!, 1e-12);
});
