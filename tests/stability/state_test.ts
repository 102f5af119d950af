import { assertEquals, assertThrows } from "@std/assert";
import type { StabilityState } from "../../lib/stability/state.ts";
import { through } from "./support.ts";

const DETECTORS = { lossEma: { value: 2.5, count: 9 }, losses: [2, 3], gradNorms: [] };
const STATE: StabilityState = {
  version: 1,
  detectors: DETECTORS,
  consecutiveSkips: 1,
  snapshots: [{
    step: 5,
    tokens: 50,
    updates: 4,
    skipped: 1,
    window: 40,
    calm: 2,
    disk: true,
    returns: 1,
    detectors: DETECTORS,
  }],
  recovery: { factor: 0.25, calmSteps: 3 },
  undone: 4,
  furthest: 9,
  rollbacks: [9],
  rollbackCount: 1,
  skippedData: [{ from: 40, to: 72 }],
};

Deno.test("stabilitySchema takes what JSON kept", () => {
  assertEquals(through(STATE), STATE);
  assertEquals(through({ ...STATE, recovery: null }).recovery, null);
});

/** The state with one field, by its dotted name, replaced. */
function broken(path: string, value: unknown): unknown {
  const state = structuredClone(STATE) as unknown as Record<string, unknown>;
  const names = path.split(".");
  let holder = state;
  for (const name of names.slice(0, -1)) holder = holder[name] as Record<string, unknown>;
  holder[names.at(-1)!] = value;
  return state;
}

for (
  const [path, value, message] of [
    ["version", 2, "stability.version must be 1, the one this program knows: current value is 2"],
    ["detectors", null, "stability.detectors must be an object: current value is null"],
    [
      "detectors.lossEma.value",
      "3",
      'stability.detectors.lossEma.value must be a finite number: current value is "3"',
    ],
    [
      "detectors.losses",
      [1, null],
      "stability.detectors.losses[1] must be a list of finite numbers",
    ],
    [
      "consecutiveSkips",
      -1,
      "stability.consecutiveSkips must be a whole number: current value is -1",
    ],
    ["snapshots", {}, "stability.snapshots must be a list: current value is {}"],
    [
      "snapshots.0.window",
      1.5,
      "stability.snapshots[0].window must be a whole number: current value is 1.5",
    ],
    [
      "snapshots.0.disk",
      1,
      "stability.snapshots[0].disk must be true or false: current value is 1",
    ],
    [
      "recovery.factor",
      0,
      "stability.recovery.factor must be a number above 0 and up to 1: current value is 0",
    ],
    ["recovery", undefined, "stability.recovery must be an object: current value is nothing"],
    [
      "rollbacks",
      [NaN],
      "stability.rollbacks[0] must be a list of whole numbers: current value is null",
    ],
    [
      "skippedData.0.to",
      undefined,
      "stability.skippedData[0].to must be a whole number: current value is nothing",
    ],
  ] as const
) {
  Deno.test(`stabilitySchema names ${path} when it is ${JSON.stringify(value)}`, () => {
    assertThrows(() => through(broken(path, value)), Error, message);
  });
}
