/**
 * All that stability remembers, as plain data: it goes into every checkpoint, so that a resumed run decides as one that was never
 * ended.
 *
 * @module
 */

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

/** Makes the error of a field: its dotted name, what it must be, and what it is. */
export type FieldError = (field: string, rule: string, value: unknown) => Error;

/** Checks a state that came off the disk; what `fail` makes is thrown for the first field that is wrong. */
export function parseStabilityState(value: unknown, fail: FieldError): StabilityState {
  const state = new Fields(value, "stability", fail);
  if (state.count("version") !== 1) {
    throw fail("stability.version", "1, the one this program knows", state.value("version"));
  }
  const recovery = state.value("recovery");
  return {
    version: 1,
    detectors: detectors(state.fields("detectors")),
    consecutiveSkips: state.count("consecutiveSkips"),
    snapshots: state.list("snapshots").map(snapshot),
    recovery: recovery === null ? null : recoveryOf(state.fields("recovery")),
    undone: state.count("undone"),
    furthest: state.count("furthest"),
    rollbacks: state.counts("rollbacks"),
    rollbackCount: state.count("rollbackCount"),
    skippedData: state.list("skippedData").map((range) => ({
      from: range.count("from"),
      to: range.count("to"),
    })),
  };
}

function detectors(fields: Fields): DetectorState {
  const ema = fields.fields("lossEma");
  return {
    lossEma: { value: ema.number("value"), count: ema.count("count") },
    losses: fields.numbers("losses"),
    gradNorms: fields.numbers("gradNorms"),
  };
}

function recoveryOf(fields: Fields): Recovery {
  const factor = fields.number("factor");
  if (factor <= 0 || factor > 1) throw fields.error("factor", "a number above 0 and up to 1");
  return { factor, calmSteps: fields.count("calmSteps") };
}

function snapshot(fields: Fields): Snapshot {
  const disk = fields.value("disk");
  if (typeof disk !== "boolean") throw fields.error("disk", "true or false");
  return {
    step: fields.count("step"),
    tokens: fields.count("tokens"),
    updates: fields.count("updates"),
    skipped: fields.count("skipped"),
    window: fields.count("window"),
    calm: fields.count("calm"),
    disk,
    returns: fields.count("returns"),
    detectors: detectors(fields.fields("detectors")),
  };
}

/** The fields of an object that came off the disk, read by kind. */
class Fields {
  readonly #object: Record<string, unknown>;
  readonly #path: string;
  readonly #fail: FieldError;

  constructor(value: unknown, path: string, fail: FieldError) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw fail(path, "an object", value);
    }
    this.#object = value as Record<string, unknown>;
    this.#path = path;
    this.#fail = fail;
  }

  value(name: string): unknown {
    return this.#object[name];
  }

  error(name: string, rule: string): Error {
    return this.#fail(`${this.#path}.${name}`, rule, this.#object[name]);
  }

  count(name: string): number {
    const value = this.#object[name];
    if (isCount(value)) return value;
    throw this.error(name, "a whole number");
  }

  number(name: string): number {
    const value = this.#object[name];
    if (typeof value === "number" && Number.isFinite(value)) return value;
    throw this.error(name, "a finite number");
  }

  counts(name: string): number[] {
    const value = this.#object[name];
    if (Array.isArray(value) && value.every(isCount)) return value;
    throw this.error(name, "a list of whole numbers");
  }

  numbers(name: string): number[] {
    const value = this.#object[name];
    if (Array.isArray(value) && value.every((item) => Number.isFinite(item))) return value;
    throw this.error(name, "a list of finite numbers");
  }

  fields(name: string): Fields {
    return new Fields(this.#object[name], `${this.#path}.${name}`, this.#fail);
  }

  list(name: string): Fields[] {
    const value = this.#object[name];
    if (!Array.isArray(value)) throw this.error(name, "a list");
    return value.map((item, i) => new Fields(item, `${this.#path}.${name}[${i}]`, this.#fail));
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
