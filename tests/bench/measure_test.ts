import { assertAlmostEquals, assertEquals } from "@std/assert";
import { alternate, quantile } from "../../lib/bench/measure.ts";

Deno.test("quantile() interpolates between neighbours when the fraction falls between them", () => {
  assertEquals(quantile([4, 1, 3, 2], 0.5), 2.5);
  assertEquals(quantile([4, 1, 3, 2], 0), 1);
  assertEquals(quantile([4, 1, 3, 2], 1), 4);
  assertAlmostEquals(quantile([10, 20], 0.25), 12.5);
});

/** Sides that take as long as they say by a clock of their own. */
function clockwork() {
  let time = 0;
  const turns: string[] = [];
  return {
    turns,
    now: () => time,
    side: (name: string, ms: (call: number) => number) => {
      let calls = 0;
      return () => {
        time += ms(calls++);
        if (turns.at(-1) !== name) turns.push(name);
      };
    },
  };
}

Deno.test("alternate() gives every side its turn once a round", async () => {
  const { turns, now, side } = clockwork();
  await alternate([side("a", () => 1), side("b", () => 1)], { repeat: 3, now });
  // Once to count the calls of a sample, then three rounds.
  assertEquals(turns.join(""), "abababab");
});

Deno.test("alternate() gives medians, spreads and ratios when a side takes varying times", async () => {
  const { now, side } = clockwork();
  // Two calls to count the calls of a sample, then a warm-up and a measured call a round.
  const slow = [0, 9, 0, 10, 0, 20, 0, 12, 0, 14, 0, 11];
  const { timings, ratios } = await alternate(
    [side("a", () => 4), side("b", (call) => slow[call]!)],
    { repeat: 5, sampleMs: 1, now },
  );
  assertEquals(timings[0], { medianUs: 4000, spread: 0 });
  assertEquals(timings[1], { medianUs: 12000, spread: 1.5 / 12 });
  assertEquals(ratios, [1, 3]);
});

Deno.test("alternate() repeats a call until a sample is long enough", async () => {
  const { now, side } = clockwork();
  let calls = 0;
  await alternate([side("a", () => (calls++, 0.5))], { repeat: 1, sampleMs: 5, now });
  assertEquals(calls, 2 + 1 + 10);
});
