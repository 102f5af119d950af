/**
 * A run in a few numbers.
 *
 * @module
 */

import type { RunHistory } from "../history/run_history.ts";

/** What became of a run. Figures are null where no record has them. */
export interface RunSummary {
  readonly device: string | null;
  readonly parameters: number | null;
  readonly steps: number;
  /** Steps that were asked for. */
  readonly stepsAsked: number | null;
  readonly tokens: number | null;
  /** Loss of the last record. */
  readonly lastLoss: number | null;
  /** Mean loss of the last records, a fiftieth of all, 100 at the most. */
  readonly lateLoss: { readonly mean: number; readonly records: number } | null;
  readonly bestValidation: {
    readonly step: number;
    readonly loss: number;
    readonly bitsPerByte: number | null;
  } | null;
  /** Time of the steps that count, without evaluations and checkpoints. */
  readonly trainingMs: number;
  readonly tokensPerS: number | null;
  /** Medians over the records. */
  readonly mfuBf16: number | null;
  readonly mfuMixed: number | null;
  readonly skipped: number;
  readonly spikes: number;
  readonly rollbacks: number;
  readonly undoneSteps: number;
  /** The last thing that happened to the run as a whole: `finished`, `interrupted`, `stopped`; null while it goes on or was killed. */
  readonly end: string | null;
}

/** Sums up a history. */
export function summarize(history: RunHistory): RunSummary {
  const { steps, validations, notes, start } = history;
  const last = (name: string) => finite(steps.get(name)?.at(-1));
  const losses = Array.from(steps.get("loss") ?? []).filter(Number.isFinite);
  const tokens = last("tokens");
  const trainingMs = last("elapsed_ms") ?? 0;
  // A loss that isn't finite is null in the file.
  const measured = validations.filter(({ loss }) => Number.isFinite(loss));
  const best = measured.reduce<typeof validations[number] | null>(
    (found, one) => found === null || one.loss < found.loss ? one : found,
    null,
  );
  const stability = (event: string) =>
    notes.filter((note) => note.type === "stability" && note.event === event).length;
  const lastNote = notes.findLast(({ type }) => type === "run" || type === "event");
  return {
    device: start?.device ?? null,
    parameters: start?.parameters ?? null,
    steps: steps.lastStep,
    stepsAsked: start?.steps ?? null,
    tokens,
    lastLoss: losses.at(-1) ?? null,
    lateLoss: lateMean(losses),
    bestValidation: best === null
      ? null
      : { step: best.step, loss: best.loss, bitsPerByte: best.bits_per_byte ?? null },
    trainingMs,
    tokensPerS: tokens === null || trainingMs === 0 ? null : 1000 * tokens / trainingMs,
    mfuBf16: median(steps.get("mfu_bf16")),
    mfuMixed: median(steps.get("mfu_mixed")),
    skipped: last("skipped") ?? 0,
    spikes: stability("spike"),
    rollbacks: stability("rollback"),
    undoneSteps: history.undoneSteps,
    end: lastNote?.type === "event" ? lastNote.event : null,
  };
}

function lateMean(losses: readonly number[]): { mean: number; records: number } | null {
  if (losses.length === 0) return null;
  const records = Math.min(100, Math.max(1, Math.floor(losses.length / 50)));
  return { mean: losses.slice(-records).reduce((sum, loss) => sum + loss, 0) / records, records };
}

function median(values: Float32Array | Float64Array | null): number | null {
  const sorted = (values ?? new Float32Array()).filter(Number.isFinite).sort();
  return sorted.length === 0 ? null : sorted[Math.floor(sorted.length / 2)]!;
}

function finite(value: number | undefined): number | null {
  return value === undefined || !Number.isFinite(value) ? null : value;
}
