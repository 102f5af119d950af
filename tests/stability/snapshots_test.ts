import { assertEquals } from "@std/assert";
import { NO_MEMORY } from "../../lib/stability/detectors.ts";
import {
  candidates,
  countStep,
  type Snapshot,
  withDisk,
  withMemory,
} from "../../lib/stability/snapshots.ts";

const RULES = { stableAfter: 4, snapshots: 2 };

function at(step: number, change: Partial<Snapshot> = {}): Snapshot {
  return {
    step,
    tokens: 0,
    updates: step,
    skipped: 0,
    window: step,
    calm: 0,
    disk: false,
    returns: 0,
    detectors: NO_MEMORY,
    ...change,
  };
}

const steps = (snapshots: readonly Snapshot[] | null) => snapshots?.map(({ step }) => step) ?? null;

Deno.test("withMemory() takes no snapshot when the room holds the only stable one", () => {
  const full = [at(5, { calm: 4 }), at(10, { calm: 3 })];
  assertEquals(steps(withMemory(full, at(15), RULES)), null);
});

Deno.test("withMemory() lets the oldest go when a newer one is stable", () => {
  const full = [at(5, { calm: 4 }), at(10, { calm: 4 })];
  assertEquals(steps(withMemory(full, at(15), RULES)), [10, 15]);
});

Deno.test("withMemory() takes no second snapshot of a step", () => {
  assertEquals(withMemory([at(5)], at(5), RULES), null);
});

Deno.test("withMemory() does not count checkpoints", () => {
  const some = [at(5, { disk: true }), at(10, { disk: true }), at(15)];
  assertEquals(steps(withMemory(some, at(20), RULES)), [5, 10, 15, 20]);
});

Deno.test("withDisk() keeps the oldest checkpoint while none that came after is stable", () => {
  const some = [at(10, { disk: true, calm: 4 }), at(20, { disk: true }), at(25)];
  assertEquals(steps(withDisk(some, at(30), RULES)), [10, 30]);
});

Deno.test("withDisk() lets the oldest checkpoint go when a newer one is stable", () => {
  const some = [at(10, { disk: true, calm: 4 }), at(20, { disk: true, calm: 4 })];
  assertEquals(steps(withDisk(some, at(30), RULES)), [20, 30]);
});

Deno.test("withDisk() keeps what is known of a snapshot that becomes a checkpoint", () => {
  const [saved] = withDisk([at(10, { calm: 4, returns: 1 })], at(10), RULES);
  assertEquals(saved, at(10, { calm: 4, returns: 1, disk: true }));
});

Deno.test("countStep() begins anew after a step that is not calm, but not once a snapshot is stable", () => {
  const rules = RULES;
  const some = [at(5, { calm: 4 }), at(10, { calm: 3 })];
  const calms = (calm: boolean) => countStep(some, { calm, rules }).map((one) => one.calm);
  assertEquals(calms(true), [4, 4]);
  assertEquals(calms(false), [4, 0]);
});

Deno.test("candidates() has the newest stable one first and the newest that isn't last", () => {
  const some = [at(5, { calm: 4 }), at(10, { calm: 4 }), at(15, { calm: 1 }), at(20)];
  assertEquals(steps(candidates(some, RULES)), [10, 5, 15, 20]);
});

Deno.test("candidates() puts one that has failed twice behind older ones", () => {
  const some = [at(5, { calm: 4 }), at(10, { calm: 4, returns: 2 })];
  assertEquals(steps(candidates(some, RULES)), [5, 10]);
});
