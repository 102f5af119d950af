/**
 * What a run's records say, kept small: its steps as columns, everything else as records.
 *
 * @module
 */

import {
  type CheckpointRecord,
  decodeRecord,
  type EventRecord,
  type MachineRecord,
  type MetricsRecord,
  type RunRecord,
  type SampleRecord,
  type StabilityRecord,
  type ValidationRecord,
} from "../metrics/records.ts";
import type { LineTaker } from "./line_follower.ts";
import { StepLineReader } from "./step_line.ts";
import { StepSeries } from "./step_series.ts";
import { TernaryHistory } from "./ternary_history.ts";

/** What was left out of a history, in a sentence. */
export function describeLeftOut({ count, first }: LeftOut): string {
  const lines = count === 1 ? "1 line is no record" : `${count} lines are no records`;
  return `${lines} that this version knows and left out; the first begins ${JSON.stringify(first)}`;
}

/** A record that isn't a measurement. */
export type NotedRecord = RunRecord | CheckpointRecord | StabilityRecord | EventRecord;

const NEWLINE = 0x0a;
/** Of a line that is left out, what is shown of it. */
const SHOWN_CHARACTERS = 120;

/** Lines that no record was made of. */
export interface LeftOut {
  readonly count: number;
  /** The beginning of the first. */
  readonly first: string;
}

/**
 * Takes the lines of a run's records. What a rollback or a resume undid is gone from {@linkcode steps},
 * {@linkcode validations}, {@linkcode machine}, {@linkcode ternary} and {@linkcode samples}; {@linkcode notes} keep all.
 */
export class RunHistory implements LineTaker {
  readonly #decoder = new TextDecoder();
  #steps = new StepSeries();
  #reader = new StepLineReader(this.#steps);
  #machine = new StepSeries({ repeats: true });
  #ternary = new TernaryHistory();
  #validations: ValidationRecord[] = [];
  #samples: SampleRecord[] = [];
  #notes: NotedRecord[] = [];
  #start: RunRecord | null = null;
  #generation = 0;
  #leftOut: LeftOut | null = null;
  #undone = 0;
  /** Time of a step by the first record that has one; 0 before it. */
  #firstStepMs = 0;

  /** Optimizer steps, with `elapsed_ms`: the time of those that count, without evaluations and checkpoints. */
  get steps(): StepSeries {
    return this.#steps;
  }

  /** Evaluations by rising step. */
  get validations(): readonly ValidationRecord[] {
    return this.#validations;
  }

  /** The machine's figures, several rows a step where steps are slow; why clocks are low as `throttled.<reason>`, 1 or 0. */
  get machine(): StepSeries {
    return this.#machine;
  }

  /** Statistics of the ternary weights. */
  get ternary(): TernaryHistory {
    return this.#ternary;
  }

  /** Texts that the model wrote, by rising step. */
  get samples(): readonly SampleRecord[] {
    return this.#samples;
  }

  /** Starts, checkpoints, decisions of stability and ends, in order. */
  get notes(): readonly NotedRecord[] {
    return this.#notes;
  }

  /** The last start. */
  get start(): RunRecord | null {
    return this.#start;
  }

  /** Lines that hold no record, or one of a kind that this version doesn't know; null where there are none. */
  get leftOut(): LeftOut | null {
    return this.#leftOut;
  }

  /** Changes whenever anything but notes is taken away: what follows does not go on from it. */
  get generation(): number {
    return this.#generation + this.#cuts;
  }

  get #cuts(): number {
    return this.#steps.cuts + this.#machine.cuts + this.#ternary.cuts;
  }

  /** Steps that rollbacks have undone. */
  get undoneSteps(): number {
    return this.#undone;
  }

  lines(bytes: Uint8Array<ArrayBuffer>): void {
    let from = 0;
    while (from < bytes.length) {
      let to = bytes.indexOf(NEWLINE, from);
      if (to === -1) to = bytes.length;
      const line = bytes.subarray(from, to);
      // What is wrong with one line is no reason to lose those after it.
      try {
        const isRead = this.#reader.isStep(bytes, from, to) && this.#reader.read(bytes, from, to);
        if (isRead ? !this.#appendStep() : !this.#takeLine(line)) this.leaveOut(line);
      } catch {
        this.leaveOut(line);
      }
      from = to + 1;
    }
  }

  leaveOut(start: Uint8Array<ArrayBuffer>): void {
    const first = this.#leftOut?.first ??
      this.#decoder.decode(start.subarray(0, 4 * SHOWN_CHARACTERS)).slice(0, SHOWN_CHARACTERS);
    this.#leftOut = { count: (this.#leftOut?.count ?? 0) + 1, first };
  }

  reset(): void {
    this.#generation += this.#cuts + 1;
    this.#steps = new StepSeries();
    this.#reader = new StepLineReader(this.#steps);
    this.#machine = new StepSeries({ repeats: true });
    this.#ternary = new TernaryHistory();
    this.#validations = [];
    this.#samples = [];
    this.#notes = [];
    this.#start = null;
    this.#undone = 0;
    this.#firstStepMs = 0;
    this.#leftOut = null;
  }

  /** Whether the line is empty or a record. */
  #takeLine(line: Uint8Array<ArrayBuffer>): boolean {
    const text = this.#decoder.decode(line);
    if (text.trim() === "") return true;
    const record = decodeRecord(text);
    if (record === null) return false;
    this.take(record);
    return true;
  }

  /** Takes one record. */
  take(record: MetricsRecord): void {
    switch (record.type) {
      case "step":
        this.#takeStep(record as unknown as Record<string, unknown>);
        break;
      case "validation":
        this.#cutValidations(record.step);
        this.#validations.push(record);
        break;
      case "machine":
        this.#takeMachine(record);
        break;
      case "ternary":
        this.#ternary.take(record);
        break;
      case "sample":
        this.#samples.push(record);
        break;
      case "run":
        this.#cutAfter(record.step);
        this.#start = record;
        this.#undone = record.undone_steps ?? 0; // older files lack it
        this.#notes.push(record);
        break;
      case "stability":
        if (record.event === "rollback") {
          this.#undone += record.undone_steps;
          this.#cutAfter(record.to_step);
        }
        this.#notes.push(record);
        break;
      case "checkpoint":
      case "event":
        this.#notes.push(record);
    }
  }

  /** Every number of the record, those one level down as `outer.inner`. */
  #takeStep(record: Record<string, unknown>): void {
    this.#steps.values.fill(NaN);
    const put = (name: string, value: unknown) => {
      if (typeof value !== "number") return;
      const place = this.#steps.column(name);
      this.#steps.values[place] = value;
    };
    for (const [name, value] of Object.entries(record)) {
      put(name, value);
      if (typeof value !== "object" || value === null || Array.isArray(value)) continue;
      for (const [inner, deep] of Object.entries(value)) put(`${name}.${inner}`, deep);
    }
    this.#appendStep();
  }

  #takeMachine(record: MachineRecord): void {
    const { values } = this.#machine;
    // A reason that was told before does not hold where it isn't told now.
    const known = record.gpu_throttle_reasons;
    for (const [place, name] of this.#machine.names.entries()) {
      values[place] = name.startsWith("throttled.") && Array.isArray(known) ? 0 : NaN;
    }
    const put = (name: string, value: number) => {
      const place = this.#machine.column(name);
      this.#machine.values[place] = value;
    };
    for (const [name, value] of Object.entries(record)) {
      if (typeof value === "number") put(name, value);
    }
    for (const reason of known ?? []) put(`throttled.${reason}`, 1);
    this.#machine.append();
  }

  /** Whether the row is a step's. */
  #appendStep(): boolean {
    const step = this.#steps.values[0]!;
    if (!Number.isFinite(step)) return false;
    if (step <= this.#steps.lastStep) this.#cutOthers(step);
    this.#steps.append();
    this.#sumTime();
    return true;
  }

  /**
   * Puts the time of all steps up to the last row's in its `elapsed_ms`. A record's `step_ms` is a step's; the record stands for all
   * steps since the one before. The first is of the warm-up and may have none: it counts as the next one does.
   */
  #sumTime(): void {
    const steps = this.#steps;
    const [elapsed, own] = [steps.column("elapsed_ms"), steps.column("step_ms")];
    const last = steps.length - 1;
    const ms = steps.at(own, last) > 0 ? steps.at(own, last) : this.#firstStepMs;
    const begins = this.#firstStepMs === 0 && ms > 0;
    if (begins) this.#firstStepMs = ms;
    for (let row = begins ? 0 : last; row <= last; row++) {
      const [step, time] = row === 0 ? [0, 0] : [steps.at(0, row - 1), steps.at(elapsed, row - 1)];
      steps.put(elapsed, row, time + (steps.at(0, row) - step) * ms);
    }
  }

  #cutAfter(step: number): void {
    this.#steps.cutFrom(step + 1);
    this.#cutOthers(step + 1);
  }

  /** Takes away what stands beside the steps, from `step` on. */
  #cutOthers(step: number): void {
    this.#machine.cutFrom(step);
    this.#ternary.cutFrom(step);
    this.#cutValidations(step);
    if ((this.#samples.at(-1)?.step ?? -1) < step) return;
    this.#samples = this.#samples.filter((one) => one.step < step);
    this.#generation++;
  }

  /** Takes away validations of `step` and later ones. */
  #cutValidations(step: number): void {
    const last = this.#validations.at(-1);
    if (last === undefined || last.step < step) return;
    this.#validations = this.#validations.filter((one) => one.step < step);
    this.#generation++;
  }
}
