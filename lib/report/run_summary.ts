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
  /** Mean loss of the last records, a fiftieth of all, 100 at the most. */
  readonly finalLoss: number | null;
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
  const tokens = last("tokens");
  const trainingMs = totalMs(history);
  const best = validations.reduce<typeof validations[number] | null>(
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
    finalLoss: finalMean(steps.get("loss")),
    bestValidation: best === null
      ? null
      : { step: best.step, loss: best.loss, bitsPerByte: best.bits_per_byte },
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

/** A record's `step_ms` is a step's; the record stands for all steps since the one before. */
function totalMs({ steps }: RunHistory): number {
  const step = steps.get("step")!;
  const ms = steps.get("step_ms");
  if (ms === null) return 0;
  // The first record is of the warm-up and has none: it counts as the next one does.
  const first = ms.find((value) => value > 0) ?? 0;
  let total = 0;
  for (let i = 0; i < step.length; i++) {
    const one = ms[i]! > 0 ? ms[i]! : first;
    total += (step[i]! - (i === 0 ? 0 : step[i - 1]!)) * one;
  }
  return total;
}

function finalMean(losses: Float32Array | Float64Array | null): number | null {
  const finiteLosses = Array.from(losses ?? []).filter(Number.isFinite);
  if (finiteLosses.length === 0) return null;
  const window = Math.min(100, Math.max(1, Math.floor(finiteLosses.length / 50)));
  const tail = finiteLosses.slice(-window);
  return tail.reduce((sum, loss) => sum + loss, 0) / tail.length;
}

function median(values: Float32Array | Float64Array | null): number | null {
  const sorted = (values ?? new Float32Array()).filter(Number.isFinite).sort();
  return sorted.length === 0 ? null : sorted[Math.floor(sorted.length / 2)]!;
}

function finite(value: number | undefined): number | null {
  return value === undefined || !Number.isFinite(value) ? null : value;
}
