import {
  assertAlmostEquals,
  assertEquals,
  assertGreater,
  assertLess,
  assertThrows,
} from "@std/assert";
import { createSchedule, SCHEDULE_TYPES, type ScheduleOptions } from "../../lib/optim/schedule.ts";

const BASE = {
  type: "cosine",
  lr: 1.5e-3,
  steps: 1000,
  warmupSteps: 100,
  minLrRatio: 0.02,
  weightDecay: 0.1,
} as const satisfies ScheduleOptions;

for (const type of SCHEDULE_TYPES) {
  Deno.test(`createSchedule() of ${type} warms up linearly from a rate above zero to the peak`, () => {
    const { lrAt } = createSchedule({ ...BASE, type });
    assertEquals([lrAt(0), lrAt(49), lrAt(99)], [1.5e-5, 7.5e-4, 1.5e-3]);
  });

  Deno.test(`createSchedule() of ${type} ends exactly at lr x minLrRatio and stays there`, () => {
    const { lrAt } = createSchedule({ ...BASE, type });
    assertAlmostEquals(lrAt(999), 3e-5, 1e-18);
    assertEquals(lrAt(5000), lrAt(999));
  });

  Deno.test(`createSchedule() of ${type} starts at the peak when there is no warm-up`, () => {
    assertAlmostEquals(createSchedule({ ...BASE, type, warmupSteps: 0 }).lrAt(0), 1.5e-3, 3e-6);
  });

  Deno.test(`createSchedule() of ${type} never rises after warm-up`, () => {
    const { lrAt } = createSchedule({ ...BASE, type });
    for (let step = 100; step < 1000; step++) {
      if (lrAt(step) > lrAt(step - 1)) throw new Error(`rises at step ${step}`);
    }
  });

  Deno.test(`createSchedule() of ${type} works when the whole run is one step`, () => {
    const schedule = createSchedule({ ...BASE, type, steps: 1, warmupSteps: 0 });
    assertEquals(Number.isFinite(schedule.lrAt(0)), true);
  });
}

Deno.test("createSchedule() of cosine is at the mean of peak and end halfway", () => {
  assertAlmostEquals(createSchedule(BASE).lrAt(549), (1.5e-3 + 3e-5) / 2, 1e-15);
});

Deno.test("createSchedule() of linear falls by the same amount each step", () => {
  const { lrAt } = createSchedule({ ...BASE, type: "linear" });
  const fall = (1.5e-3 - 3e-5) / 900;
  assertAlmostEquals(lrAt(300) - lrAt(301), fall, 1e-15);
  assertAlmostEquals(lrAt(800) - lrAt(801), fall, 1e-15);
});

Deno.test("createSchedule() of wsd stays at the peak until the decay begins", () => {
  const { lrAt } = createSchedule({ ...BASE, type: "wsd", decayFraction: 0.3 });
  assertEquals([lrAt(100), lrAt(400), lrAt(699)], [1.5e-3, 1.5e-3, 1.5e-3]);
  assertLess(lrAt(700), 1.5e-3);
  assertAlmostEquals(lrAt(849), (1.5e-3 + 3e-5) / 2, 1e-15);
});

Deno.test("createSchedule() of bitnet follows the recipe's figure: 1.5e-3 and 1e-3 over 100k steps", () => {
  const { lrAt } = createSchedule({
    ...BASE,
    type: "bitnet",
    steps: 100_000,
    warmupSteps: 375,
    secondLr: 1e-3,
  });
  assertAlmostEquals(lrAt(374), 1.5e-3, 1e-18);
  assertAlmostEquals(lrAt(49_999), 0.77e-3, 1e-5); // before the jump
  assertAlmostEquals(lrAt(50_000), 0.52e-3, 1e-5); // after it
  assertAlmostEquals(lrAt(99_999), 3e-5, 1e-15);
});

Deno.test("createSchedule() of bitnet lies on the second peak's own full-length line after the switch", () => {
  const bitnet = createSchedule({ ...BASE, type: "bitnet", secondLr: 1e-3 });
  const second = createSchedule({ ...BASE, type: "linear", lr: 1e-3, minLrRatio: 0.03 });
  for (const step of [500, 700, 999]) {
    assertAlmostEquals(bitnet.lrAt(step), second.lrAt(step), 1e-15);
  }
});

Deno.test("createSchedule() of bitnet takes two thirds of lr as the second peak by default", () => {
  const given = createSchedule({ ...BASE, type: "bitnet", secondLr: 1e-3 });
  assertAlmostEquals(createSchedule({ ...BASE, type: "bitnet" }).lrAt(600), given.lrAt(600), 1e-15);
});

Deno.test("createSchedule() of bitnet drops weight decay to 0 at the switch and not a step before", () => {
  const { weightDecayAt } = createSchedule({ ...BASE, type: "bitnet", switchAt: 0.4 });
  assertEquals([weightDecayAt(0), weightDecayAt(399), weightDecayAt(400), weightDecayAt(999)], [
    0.1,
    0.1,
    0,
    0,
  ]);
});

Deno.test("createSchedule() keeps weight decay over the whole run for every other type", () => {
  for (const type of ["cosine", "linear", "wsd"] as const) {
    assertEquals(createSchedule({ ...BASE, type }).weightDecayAt(999), 0.1);
  }
});

Deno.test("createSchedule() doubles the rate at every step when lr and its ends double", () => {
  const one = createSchedule({ ...BASE, type: "linear" });
  const two = createSchedule({ ...BASE, type: "linear", lr: 3e-3 });
  for (const step of [0, 99, 500, 999]) {
    assertAlmostEquals(two.lrAt(step), 2 * one.lrAt(step), 1e-17);
  }
  assertGreater(two.lrAt(0), 0);
});

const BAD: [string, Partial<ScheduleOptions>][] = [
  ["warmupSteps", { warmupSteps: 1001 }],
  ["warmupSteps", { warmupSteps: 1.5 }],
  ["steps", { steps: 0 }],
  ["lr", { lr: 0 }],
  ["lr", { lr: NaN }],
  ["minLrRatio", { minLrRatio: 1.1 }],
  ["weightDecay", { weightDecay: -0.1 }],
  ["switchAt", { type: "bitnet", switchAt: 2 }],
  ["secondLr", { type: "bitnet", secondLr: -1 }],
  ["leave room", { type: "wsd", decayFraction: 0.95 }],
];
for (const [name, change] of BAD) {
  Deno.test(`createSchedule() refuses ${JSON.stringify(change)}`, () => {
    assertThrows(() => createSchedule({ ...BASE, ...change }), RangeError, name);
  });
}

Deno.test("lrAt() refuses a step that isn't a whole number of at least 0", () => {
  assertThrows(() => createSchedule(BASE).lrAt(-1), RangeError, "current value is -1");
  assertThrows(() => createSchedule(BASE).lrAt(1.5), RangeError, "current value is 1.5");
});
