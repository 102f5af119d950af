/**
 * Everything of a run that is neither weight nor moment: a few numbers, stored with every checkpoint.
 *
 * @module
 */

import { join } from "@std/path";
import * as z from "zod";
import { checkpointJson } from "../checkpoint/errors.ts";
import { FILES } from "../checkpoint/layout.ts";
import { MAX_STATE_BYTES } from "../checkpoint/state_json.ts";
import type { SamplerState } from "../data/sampler.ts";
import { NEW_STABILITY_STATE, stabilitySchema, type StabilityState } from "../stability/state.ts";
import { checkShape, wholeNumber } from "../std/json.ts";

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

const loopSchema = z.object({
  step: wholeNumber(),
  tokens: wholeNumber(),
  updates: wholeNumber(),
  skipped: wholeNumber(),
  sampler: z.object({
    seed: wholeNumber(),
    epoch: wholeNumber(),
    position: wholeNumber(),
    windowCount: wholeNumber({ min: 1 }),
  }, { error: "an object" }),
}, { error: "a JSON object" });

const withStability = loopSchema.extend({ stability: stabilitySchema });
/** A checkpoint of an earlier version has no more than the number of skips. */
const withoutStability = loopSchema.extend({ consecutiveSkips: wholeNumber() });

/**
 * Checks a state that came off the disk. Throws {@linkcode CheckpointError} naming the field.
 *
 * @param folder The checkpoint's.
 */
export function parseLoopState(value: unknown, folder: string): LoopState {
  const file = checkpointJson(join(folder, FILES.state), { maxBytes: MAX_STATE_BYTES });
  const state = value as { stability?: unknown } | null;
  if (state?.stability !== undefined) return checkShape(value, withStability, file);
  const { consecutiveSkips, ...rest } = checkShape(value, withoutStability, file);
  return { ...rest, stability: { ...NEW_STABILITY_STATE, consecutiveSkips } };
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
