/** Records made up for tests. */

import type { StepRecord } from "../../lib/metrics/records.ts";

/** A step of 1,024 tokens; `change` takes the place of fields. */
export function stepRecord(step: number, change: Partial<StepRecord> = {}): StepRecord {
  return {
    type: "step",
    step,
    tokens: 1024 * step,
    loss: 4.25,
    lr: 1e-3,
    weight_decay: 0.1,
    grad_norm: 0.5,
    step_ms: 100,
    forward_ms: null,
    backward_ms: null,
    optimizer_ms: null,
    data_ms: null,
    tokens_per_s: 10240,
    mfu_bf16: null,
    mfu_mixed: null,
    skipped: 0,
    ...change,
  };
}
