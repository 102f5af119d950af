/**
 * All that stability remembers, as plain data: it goes into every checkpoint, so that a resumed run decides as one that was never
 * ended.
 *
 * @module
 */

import * as z from "zod";
import { wholeNumber } from "../std/json.ts";
import { type DetectorState, NO_MEMORY } from "./detectors.ts";
import type { Recovery } from "./recovery.ts";
import type { Snapshot } from "./snapshots.ts";

/** Windows of data that were left out, from the first to before the last; counted since the run began. */
export interface SkippedData {
  readonly from: number;
  readonly to: number;
}

/** Where stability stands after a step. */
export interface StabilityState {
  /** Of this form. */
  readonly version: 1;
  readonly detectors: DetectorState;
  /** Steps left out in a row up to now. */
  readonly consecutiveSkips: number;
  /** Oldest first. */
  readonly snapshots: readonly Snapshot[];
  /** Null while the learning rate is the schedule's. */
  readonly recovery: Recovery | null;
  /** Steps that rollbacks have undone. With the loop's step they count the steps taken, which never go back. */
  readonly undone: number;
  /** The highest step that was taken before the last rollback. */
  readonly furthest: number;
  /** Steps taken at each rollback that is within the window, oldest first. */
  readonly rollbacks: readonly number[];
  /** Rollbacks since the run began. */
  readonly rollbackCount: number;
  /** Oldest first, without overlaps. */
  readonly skippedData: readonly SkippedData[];
}

/** Stability of a run that begins. */
export const NEW_STABILITY_STATE: StabilityState = {
  version: 1,
  detectors: NO_MEMORY,
  consecutiveSkips: 0,
  snapshots: [],
  recovery: null,
  undone: 0,
  furthest: 0,
  rollbacks: [],
  rollbackCount: 0,
  skippedData: [],
};

const number = () => z.number({ error: "a finite number" });
const NUMBERS = "a list of finite numbers";
const COUNTS = "a list of whole numbers";
const OBJECT = { error: "an object" };
const counts = () => z.array(z.int({ error: COUNTS }).min(0, { error: COUNTS }), { error: COUNTS });

const detectorsSchema = z.object({
  lossEma: z.object({ value: number(), count: wholeNumber() }, OBJECT),
  losses: z.array(z.number({ error: NUMBERS }), { error: NUMBERS }),
  gradNorms: z.array(z.number({ error: NUMBERS }), { error: NUMBERS }),
}, OBJECT);

const snapshotSchema = z.object({
  step: wholeNumber(),
  tokens: wholeNumber(),
  updates: wholeNumber(),
  skipped: wholeNumber(),
  window: wholeNumber(),
  calm: wholeNumber(),
  disk: z.boolean({ error: "true or false" }),
  returns: wholeNumber(),
  detectors: detectorsSchema,
}, OBJECT);

const FACTOR = "a number above 0 and up to 1";

const recoverySchema = z.object({
  factor: z.number({ error: FACTOR }).gt(0, { error: FACTOR }).max(1, { error: FACTOR }),
  calmSteps: wholeNumber(),
}, OBJECT);

/** A state that came off the disk: what each field must be. */
export const stabilitySchema: z.ZodType<StabilityState> = z.object({
  version: z.literal(1, { error: "1, the one this program knows" }),
  detectors: detectorsSchema,
  consecutiveSkips: wholeNumber(),
  snapshots: z.array(snapshotSchema, { error: "a list" }),
  recovery: recoverySchema.nullable(),
  undone: wholeNumber(),
  furthest: wholeNumber(),
  rollbacks: counts(),
  rollbackCount: wholeNumber(),
  skippedData: z.array(z.object({ from: wholeNumber(), to: wholeNumber() }, OBJECT), {
    error: "a list",
  }),
}, OBJECT);
