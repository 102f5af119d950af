/**
 * What stability decides, for people.
 *
 * @module
 */

import type { StabilityEvent } from "../metrics/records.ts";

/** By name; one of a newer version is called what it is. */
const DETECTORS: Readonly<Record<string, string>> = {
  non_finite: "not finite",
  loss_ema: "times the loss's moving average",
  loss_outlier: "deviations above the losses' median",
  grad_norm_outlier: "deviations above the grad norms' median",
};

const ANSWERS: Readonly<Record<string, string>> = {
  skip: "left out",
  rollback: "undone",
  stop: "undone, and the run ends",
};

/** A decision of stability as a line; numbers that aren't finite may be null, as a file of records has them. */
export function describeStability(record: StabilityEvent): string {
  const { step } = record;
  switch (record.event) {
    case "spike": {
      const { detector, answer, score, threshold } = record;
      const loss = record.loss ?? NaN, gradNorm = record.grad_norm ?? NaN;
      const name = DETECTORS[detector] ?? detector;
      const why = typeof score !== "number" || typeof threshold !== "number"
        ? name
        : `${score.toFixed(1)} ${name}, above ${threshold}`;
      return `warning: step ${step} is ${ANSWERS[answer] ?? answer}: loss ${
        loss.toFixed(4)
      }, grad norm ${gradNorm.toFixed(2)} (${why})`;
    }
    case "rollback":
      return `rollback ${record.rollbacks} of ${record.max_rollbacks}: back from step ${step} to ${record.to_step} (${record.place}), ` +
        `windows ${record.window_from} to ${
          record.window_to - 1
        } of the data left out, learning rate x ${record.lr_factor.toPrecision(3)}`;
    case "recovered":
      return `recovered at step ${step}: the learning rate is the schedule's again`;
    case "new_level":
      return `step ${step}: ${record.to.toFixed(4)} is taken for the new level${
        typeof record.from === "number" ? `, after ${record.from.toFixed(4)}` : ""
      } (${DETECTORS[record.detector] ?? record.detector})`;
    case "gave_up":
      return `giving up at step ${step}: ${record.reason}`;
  }
}
