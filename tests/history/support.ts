/** Records made up here, and folders for them. */

import { join } from "@std/path";
import type { MetricsRecord, RunRecord, StepRecord } from "../../lib/metrics/records.ts";

/** A run's first record. */
export function runRecord(fields: Partial<RunRecord> = {}): RunRecord {
  return {
    type: "run",
    step: 0,
    time: "2026-01-01T00:00:00.000Z",
    version: "0.1.0",
    run: "made-up",
    device: "CPU",
    backend: "cpu",
    parameters: 1000,
    tokens_per_step: 100,
    steps: 1000,
    undone_steps: 0,
    snapshot_bytes: 0,
    ...fields,
  };
}

/** A step's record. */
export function stepRecord(step: number, fields: Partial<StepRecord> = {}): StepRecord {
  return {
    type: "step",
    step,
    tokens: 100 * step,
    loss: 2 + 8 / step,
    lr: 1e-3,
    weight_decay: 0.1,
    grad_norm: 0.5,
    forward_ms: 1.5,
    backward_ms: 3.25,
    optimizer_ms: 0.25,
    data_ms: 0.125,
    step_ms: 5,
    tokens_per_s: 20000,
    mfu_bf16: 0.4,
    mfu_mixed: null,
    skipped: 0,
    ...fields,
  };
}

/** An evaluation's record. */
export function validationRecord(step: number, loss = 3): MetricsRecord {
  return {
    ...{ type: "validation", step, tokens: 100 * step, loss, perplexity: Math.exp(loss) },
    ...{ bits_per_byte: loss / 3, validation_tokens: 50, validation_ms: 1 },
  };
}

/** A spike's record. */
export function spikeRecord(step: number): MetricsRecord {
  return {
    ...{ type: "stability", event: "spike", step, detector: "loss_ema", answer: "rollback" },
    ...{ loss: 90, grad_norm: 7, reference: 3, score: 30, threshold: 5, consecutive_skips: 0 },
  };
}

/** A rollback's record. */
export function rollbackRecord(step: number, toStep: number): MetricsRecord {
  return {
    ...{ type: "stability", event: "rollback", step, to_step: toStep, place: "memory" },
    ...{ undone_steps: step - toStep, window_from: 0, window_to: 8, lr_factor: 0.5 },
    ...{ rollbacks: 1, max_rollbacks: 5 },
  };
}

/** Records as lines. */
export function lines(...records: readonly unknown[]): string {
  return records.map((record) => JSON.stringify(record) + "\n").join("");
}

/** Steps `from` to `to` as lines. */
export function stepLines(from: number, to: number): string {
  return lines(...Array.from({ length: to - from + 1 }, (_, index) => stepRecord(from + index)));
}

/** A run's folder with its file of records, deleted when disposed of. */
export interface RunFolder extends AsyncDisposable {
  readonly folder: string;
  readonly file: string;
  append(text: string): void;
}

/** Makes a {@linkcode RunFolder} that begins with `text`. */
export async function runFolder(text: string): Promise<RunFolder> {
  const folder = await Deno.makeTempDir({ prefix: "titanbit_history_" });
  const file = join(folder, "metrics.jsonl");
  Deno.writeTextFileSync(file, text);
  return {
    folder,
    file,
    append: (more) => Deno.writeTextFileSync(file, more, { append: true }),
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}
