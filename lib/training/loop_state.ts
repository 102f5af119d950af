/**
 * Everything of a run that is neither weight nor moment: a few numbers, stored with every checkpoint.
 *
 * @module
 */

import { CheckpointError } from "../checkpoint/errors.ts";
import type { SamplerState } from "../data/sampler.ts";

/** Where a run stands after a step. */
export interface LoopState {
  /** Optimizer steps taken, skipped ones among them. */
  readonly step: number;
  /** Tokens trained on. */
  readonly tokens: number;
  /** Updates of the weights, which AdamW counts: its bias correction goes by them. */
  readonly updates: number;
  /** Steps left out since the run began, and in a row up to now. */
  readonly skipped: number;
  readonly consecutiveSkips: number;
  /** Where the data is. */
  readonly sampler: SamplerState;
}

const COUNTS = ["step", "tokens", "updates", "skipped", "consecutiveSkips"] as const;
const SAMPLER_COUNTS = ["seed", "epoch", "position", "windowCount"] as const;

/** Checks a state that came off the disk. Throws {@linkcode CheckpointError} naming the field. */
export function parseLoopState(value: Record<string, unknown>, path: string): LoopState {
  const counts = readCounts(value, COUNTS, path, "");
  const sampler = value.sampler;
  if (typeof sampler !== "object" || sampler === null) throw malformed(path, "sampler", sampler);
  return {
    ...counts,
    sampler: readCounts(sampler as Record<string, unknown>, SAMPLER_COUNTS, path, "sampler."),
  };
}

function readCounts<Name extends string>(
  value: Record<string, unknown>,
  names: readonly Name[],
  path: string,
  prefix: string,
): Record<Name, number> {
  const counts = {} as Record<Name, number>;
  for (const name of names) {
    const count = value[name];
    if (typeof count !== "number" || !Number.isSafeInteger(count) || count < 0) {
      throw malformed(path, prefix + name, count);
    }
    counts[name] = count;
  }
  return counts;
}

function malformed(path: string, field: string, value: unknown): CheckpointError {
  return new CheckpointError(
    `Cannot resume from ${path} as ${field} of its trainer state must be a whole number: current value is ${
      JSON.stringify(value) ?? "missing"
    }`,
  );
}
