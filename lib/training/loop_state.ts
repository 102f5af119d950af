/**
 * Everything of a run that is neither weight nor moment: a few numbers, stored with every checkpoint.
 *
 * @module
 */

import { CheckpointError } from "../checkpoint/errors.ts";
import type { SamplerState } from "../data/sampler.ts";
import {
  NEW_STABILITY_STATE,
  parseStabilityState,
  type StabilityState,
} from "../stability/state.ts";

/** Where a run stands after a step. */
export interface LoopState {
  /** Optimizer steps taken, skipped ones among them. */
  readonly step: number;
  /** Tokens trained on. */
  readonly tokens: number;
  /** Updates of the weights, which AdamW counts: its bias correction goes by them. */
  readonly updates: number;
  /** Steps left out since the run began, undone ones not among them. */
  readonly skipped: number;
  /** Where the data is. */
  readonly sampler: SamplerState;
  /** What stability remembers. */
  readonly stability: StabilityState;
}

const COUNTS = ["step", "tokens", "updates", "skipped"] as const;
const SAMPLER_COUNTS = ["seed", "epoch", "position", "windowCount"] as const;

/** Checks a state that came off the disk. Throws {@linkcode CheckpointError} naming the field. */
export function parseLoopState(value: Record<string, unknown>, path: string): LoopState {
  const counts = readCounts(value, COUNTS, path, "");
  const sampler = value.sampler;
  if (typeof sampler !== "object" || sampler === null) throw malformed(path, "sampler", sampler);
  return {
    ...counts,
    sampler: readCounts(sampler as Record<string, unknown>, SAMPLER_COUNTS, path, "sampler."),
    stability: readStability(value, path),
  };
}

/** Windows of data taken since the run began, left out ones among them. */
export function windowOf({ epoch, position, windowCount }: SamplerState): number {
  return epoch * windowCount + position;
}

/** Where the data is after so many windows. */
export function samplerAt(window: number, { seed, windowCount }: SamplerState): SamplerState {
  return {
    seed,
    epoch: Math.floor(window / windowCount),
    position: window % windowCount,
    windowCount,
  };
}

/** A checkpoint of an earlier version has no more than the number of skips. */
function readStability(value: Record<string, unknown>, path: string): StabilityState {
  if (value.stability === undefined) {
    return { ...NEW_STABILITY_STATE, ...readCounts(value, ["consecutiveSkips"], path, "") };
  }
  return parseStabilityState(
    value.stability,
    (field, rule, found) =>
      new CheckpointError(
        `Cannot resume from ${path} as ${field} of its trainer state must be ${rule}: current value is ${
          JSON.stringify(found) ?? "missing"
        }`,
      ),
  );
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
