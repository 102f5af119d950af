import { assertEquals, assertThrows } from "@std/assert";
import { CheckpointError } from "../../lib/checkpoint/errors.ts";
import { NEW_STABILITY_STATE } from "../../lib/stability/state.ts";
import {
  type LoopState,
  parseLoopState,
  samplerAt,
  windowOf,
} from "../../lib/training/loop_state.ts";

const STATE: LoopState = {
  step: 5,
  tokens: 50,
  updates: 4,
  skipped: 1,
  sampler: { seed: 1, epoch: 2, position: 3, windowCount: 10 },
  stability: { ...NEW_STABILITY_STATE, undone: 4 },
};

Deno.test("parseLoopState() reads what was saved", () => {
  assertEquals(parseLoopState({ ...STATE }, "step_5"), STATE);
});

Deno.test("parseLoopState() names a field of stability that is wrong", () => {
  const stability = { ...NEW_STABILITY_STATE, undone: -1 };
  assertThrows(
    () => parseLoopState({ ...STATE, stability }, "step_5"),
    CheckpointError,
    "Cannot read step_5/trainer_state.json as stability.undone must be a whole number: current value is -1",
  );
});

Deno.test("parseLoopState() takes a checkpoint of before stability had a state", () => {
  const { stability: _, ...before } = STATE;
  const state = parseLoopState({ ...before, consecutiveSkips: 2 }, "step_5");
  assertEquals(state.stability, { ...NEW_STABILITY_STATE, consecutiveSkips: 2 });
});

Deno.test("samplerAt() undoes windowOf()", () => {
  assertEquals(windowOf(STATE.sampler), 23);
  assertEquals(samplerAt(23, STATE.sampler), STATE.sampler);
  assertEquals(samplerAt(30, STATE.sampler).epoch, 3);
  assertEquals(samplerAt(30, STATE.sampler).position, 0);
});
