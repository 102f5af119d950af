import { assertEquals } from "@std/assert";
import { describeStability } from "../../lib/cli/stability_text.ts";
import type { SpikeEvent, StabilityEvent } from "../../lib/metrics/records.ts";

const SPIKE: SpikeEvent = {
  event: "spike",
  step: 7,
  detector: "loss_ema",
  answer: "rollback",
  loss: 18,
  grad_norm: 2.5,
  reference: 3,
  score: 6,
  threshold: 5,
  consecutive_skips: 0,
};

const TEXTS: [StabilityEvent, string][] = [
  [
    SPIKE,
    "warning: step 7 is undone: loss 18.0000, grad norm 2.50 (6.0 times the loss's moving average, above 5)",
  ],
  [
    { ...SPIKE, detector: "non_finite", answer: "skip", loss: NaN, score: null, threshold: null },
    "warning: step 7 is left out: loss NaN, grad norm 2.50 (not finite)",
  ],
  [ // as a file of records has what is not finite
    JSON.parse(JSON.stringify({ ...SPIKE, step: 8, loss: NaN, grad_norm: Infinity })),
    "warning: step 8 is undone: loss NaN, grad norm NaN (6.0 times the loss's moving average, above 5)",
  ],
  [
    {
      event: "rollback",
      step: 7,
      to_step: 4,
      place: "memory",
      undone_steps: 3,
      window_from: 32,
      window_to: 56,
      lr_factor: 0.5,
      rollbacks: 1,
      max_rollbacks: 5,
    },
    "rollback 1 of 5: back from step 7 to 4 (memory), windows 32 to 55 of the data left out, learning rate x 0.500",
  ],
  [
    { event: "recovered", step: 9, calm_steps: 5 },
    "recovered at step 9: the learning rate is the schedule's again",
  ],
  [
    { event: "new_level", step: 9, detector: "grad_norm_outlier", from: 0.5, to: 2 },
    "step 9: 2.0000 is taken for the new level, after 0.5000 (deviations above the grad norms' median)",
  ],
  [{ event: "gave_up", step: 9, reason: "so", rollbacks: 5 }, "giving up at step 9: so"],
];

for (const [event, text] of TEXTS) {
  Deno.test(`describeStability() has the numbers of ${event.event} at step ${event.step}`, () => {
    assertEquals(describeStability(event), text);
  });
}
