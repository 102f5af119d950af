/**
 * A run that is shown: its history, followed as it grows.
 *
 * @module
 */

import { describeStability } from "../cli/stability_text.ts";
import { type Columns, downsample } from "../history/downsample.ts";
import { LineFollower } from "../history/line_follower.ts";
import { clipNorm, msSinceWritten, readConfig, type RunFiles } from "../history/run_files.ts";
import { describeLeftOut, type NotedRecord, RunHistory } from "../history/run_history.ts";
import type { StepSeries } from "../history/step_series.ts";
import { smooth, type SmoothState } from "../history/smoothing.ts";
import { type HeatMap, TERNARY_STATISTICS } from "../history/ternary_history.ts";
import type { SampleRecord } from "../metrics/records.ts";

/** What is counted of a run, in the order of a stream's event id. */
export const POSITION_COUNTS = [
  "rows",
  "validations",
  "notes",
  "machine",
  "ternary",
  "samples",
] as const;

/** How much of a run a client has. */
export interface Position extends Readonly<Record<typeof POSITION_COUNTS[number], number>> {
  readonly generation: string;
}

/** What a run has beyond a position; `reset` where it doesn't go on from there and is to be read anew. */
export type Update =
  | { readonly reset: true }
  | {
    readonly columns: Columns;
    readonly validations: readonly unknown[];
    readonly notes: readonly ShownNote[];
    /** Rows of the machine's figures, the first of them row `from`. */
    readonly machine: { readonly from: number; readonly columns: Columns };
    /** Records of the ternary weights that there are now. */
    readonly ternary: number;
    readonly samples: readonly SampleRecord[];
    readonly problems: readonly string[];
  };

/** A note as the page lists and draws it. */
export interface ShownNote {
  readonly step: number;
  /** `run`, `checkpoint`, or the event's name. */
  readonly kind: string;
  readonly text: string;
  /** Of a rollback. */
  readonly to_step?: number;
  /** Of a spike. */
  readonly loss?: number;
  readonly grad_norm?: number;
  readonly answer?: string;
}

/** Rows that are sent as they are; a client further behind reads the series anew. */
const MOST_ROWS = 4000;
/** Notes that a page lists. */
const MOST_NOTES = 2000;
/** Texts of the model that a page lists. */
const MOST_SAMPLES = 200;
/** Told apart from those of a server that ran before. */
const EPOCH = Date.now().toString(36);

/** Options of {@linkcode WatchedRun}. */
export interface WatchedRunOptions {
  /** Text of the config, where it is known before a checkpoint holds it. */
  readonly config?: string;
  /** Told of each file that can't be read, each time. */
  readonly onError?: (error: unknown) => void;
}

/** Follows one run. */
export class WatchedRun {
  readonly id: string;
  readonly files: RunFiles;
  readonly history = new RunHistory();
  readonly #follower: LineFollower;
  readonly #givenConfig: string | null;
  readonly #onError: (error: unknown) => void;
  /** Why a file can't be read, by what it is. */
  readonly #problems = new Map<"records" | "config", string>();
  #polling: Promise<boolean> | null = null;

  constructor(id: string, files: RunFiles, options: WatchedRunOptions = {}) {
    this.id = id;
    this.files = files;
    this.#givenConfig = options.config ?? null;
    this.#onError = options.onError ?? (() => {});
    this.#follower = new LineFollower(files.records, this.history);
  }

  /** Reads what is new; whether anything was. A file that can't be read is one of {@linkcode problems}. */
  poll(): Promise<boolean> {
    this.#polling ??= this.#poll().finally(() => this.#polling = null);
    return this.#polling;
  }

  async #poll(): Promise<boolean> {
    try {
      const changed = await this.#follower.poll();
      this.#problems.delete("records");
      return changed;
    } catch (error) {
      this.#note("records", error);
      return false;
    }
  }

  /** What of the run can't be shown, and why. */
  get problems(): readonly string[] {
    const { leftOut } = this.history;
    return [...this.#problems.values(), ...(leftOut === null ? [] : [describeLeftOut(leftOut)])];
  }

  #note(what: "records" | "config", error: unknown): void {
    this.#problems.set(what, error instanceof Error ? error.message : String(error));
    this.#onError(error);
  }

  get position(): Position {
    const { history } = this;
    return {
      generation: `${EPOCH}-${history.generation}`,
      rows: history.steps.length,
      validations: history.validations.length,
      notes: history.notes.length,
      machine: history.machine.length,
      ternary: history.ternary.length,
      samples: history.samples.length,
    };
  }

  /** The run's config as YAML, `null` while there is none that can be read. */
  get config(): string | null {
    if (this.#givenConfig !== null) return this.#givenConfig;
    try {
      const config = readConfig(this.files.folder);
      this.#problems.delete("config");
      return config;
    } catch (error) {
      this.#note("config", error);
      return null;
    }
  }

  /** What the list of runs says of it. */
  summary() {
    const { history, files, id } = this;
    const { start, steps } = history;
    const config = this.config;
    return {
      id,
      name: start?.run ?? files.name,
      folder: files.folder,
      start,
      silent_ms: msSinceWritten(files.records),
      last_step: steps.lastStep,
      rows: steps.length,
      undone_steps: history.undoneSteps,
      columns: steps.names.filter((name) => steps.get(name)!.some(Number.isFinite)),
      max_grad_norm: clipNorm(config),
      validations: history.validations,
      notes: history.notes.slice(-MOST_NOTES).map(shownNote),
      ternary: history.ternary.length,
      samples: history.samples.slice(-MOST_SAMPLES),
      config,
      problems: this.problems,
    };
  }

  /** A statistic of the ternary weights between two steps; `null` where there is no such statistic. */
  heatMap(
    field: string,
    options: { from: number; to: number; columns: number },
  ): HeatMap | null {
    const statistic = TERNARY_STATISTICS.find((one) => one.field === field);
    return statistic === undefined ? null : this.history.ternary.heatMap(statistic, options);
  }

  /** Up to `points` rows between two steps, with the loss smoothed over `window` records; half as many of the machine's. */
  series(options: { from: number; to: number; points: number; window: number }) {
    const { steps, machine } = this.history;
    const { points } = options;
    const extra = new Map<string, Float64Array>();
    let state: SmoothState | null = null;
    const losses = steps.get("loss");
    if (losses !== null && options.window > 1) {
      const smoothed = smooth(losses, options.window);
      extra.set("loss_smooth", smoothed.values);
      state = smoothed.state;
    }
    // One row beyond either end, so that lines go on to the edge.
    const rowsOf = (series: StepSeries, most: number) => ({
      from: Math.max(0, series.indexOf(options.from) - 1),
      // A row at the end itself is the last, and so are all of its step.
      to: Math.min(
        series.length,
        Math.max(series.indexOf(options.to) + 1, series.indexOf(options.to + 1)),
      ),
      points: most,
    });
    return {
      run: this.id,
      position: this.position,
      smooth: state,
      columns: downsample(steps, rowsOf(steps, points), extra),
      // No chart of the machine is wide.
      machine: downsample(machine, rowsOf(machine, Math.ceil(points / 2))),
    };
  }

  /** What is new since a position; `null` where nothing is. */
  since(position: Position | null): Update | null {
    const now = this.position;
    if (position === null || position.generation !== now.generation) return { reset: true };
    const behind = now.rows - position.rows;
    if (
      behind < 0 || behind > MOST_ROWS || now.notes - position.notes > MOST_NOTES ||
      now.machine - position.machine > MOST_ROWS
    ) return { reset: true };
    if (POSITION_COUNTS.every((count) => now[count] === position[count])) return null;
    return {
      columns: downsample(this.history.steps, {
        from: position.rows,
        to: now.rows,
        points: MOST_ROWS,
      }),
      validations: this.history.validations.slice(position.validations),
      notes: this.history.notes.slice(position.notes).map(shownNote),
      machine: {
        from: position.machine,
        columns: downsample(this.history.machine, {
          from: position.machine,
          to: now.machine,
          points: MOST_ROWS,
        }),
      },
      ternary: now.ternary,
      samples: this.history.samples.slice(position.samples),
      problems: this.problems,
    };
  }
}

function shownNote(note: NotedRecord): ShownNote {
  const { step } = note;
  switch (note.type) {
    case "run":
      return { step, kind: "run", text: `started after step ${step} on ${note.device}` };
    case "checkpoint":
      return {
        step,
        kind: note.error === null ? "checkpoint" : "checkpoint_failed",
        text: note.error === null
          ? `checkpoint ${note.path}`
          : `checkpoint ${note.path} was not written: ${note.error}`,
      };
    case "event":
      return { step, kind: note.event, text: note.message || note.event };
    case "stability": {
      const shown = { step, kind: note.event, text: describeStability(note) };
      if (note.event === "rollback") return { ...shown, to_step: note.to_step };
      if (note.event === "spike") {
        return { ...shown, loss: note.loss, grad_norm: note.grad_norm, answer: note.answer };
      }
      return shown;
    }
  }
}
