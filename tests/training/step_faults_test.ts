import { assert, assertEquals, assertNotEquals } from "@std/assert";
import type { Fault } from "../../lib/stability/faults.ts";
import { StepFaults } from "../../lib/training/step_faults.ts";

function faults(kind: Fault["kind"], step = 3): StepFaults {
  const fault: Fault = { kind, steps: [3], repeat: "once", factor: 7, ms: 30 };
  return new StepFaults([fault], { step, vocabSize: 50 });
}

const batch = () => ({ ids: new Int32Array(64), targets: new Int32Array(64) });
const RESULT = { loss: 2, gradNorm: 1 };

Deno.test("distort() changes the loss alone", () => {
  assertEquals(faults("loss").distort(RESULT), { loss: 14, gradNorm: 1 });
  assertEquals(faults("inf_loss").distort(RESULT), { loss: Infinity, gradNorm: 1 });
  assertEquals(faults("nan_gradient").distort(RESULT), RESULT);
});

Deno.test("corrupt() fills a batch with tokens of the vocabulary, the same for the same step", () => {
  const [first, again, other] = [batch(), batch(), batch()];
  faults("corrupt_batch").corrupt(first);
  faults("corrupt_batch").corrupt(again);
  faults("corrupt_batch", 4).corrupt(other);
  assertEquals(first, again);
  assertNotEquals(first.ids, other.ids);
  assertNotEquals(first.ids, first.targets);
  assert(new Set(first.ids).size > 20);
  assert(first.ids.every((id) => id >= 0 && id < 50));
});

Deno.test("corrupt() takes its time when reads stall, and leaves the batch", () => {
  const read = batch();
  const started = performance.now();
  faults("stalled_read").corrupt(read);
  assert(performance.now() - started >= 29);
  assertEquals(read, batch());
});

Deno.test("poisonsGradient is true for its own kind", () => {
  assertEquals(faults("nan_gradient").poisonsGradient, true);
  assertEquals(faults("loss").poisonsGradient, false);
});
