/**
 * A run's numbers for TensorBoard.
 *
 * @module
 */

import { join } from "@std/path";
import { encodeEvent, type TensorBoardEvent } from "./event_file.ts";
import type { MetricsRecord } from "./records.ts";
import { seriesOf } from "./series.ts";
import { ReopenedFile } from "./reopened_file.ts";
import type { MetricsSink } from "./sinks.ts";

/**
 * Writes an event file: each number of a record is a scalar `type/field`, such as `step/loss`, in the record's unit.
 *
 * Steps that are undone, or that a run which was killed takes again, are void for TensorBoard, as a start of the session at an
 * earlier step tells it. A file that is moved or deleted meanwhile is made anew at its path.
 */
export class TensorBoardSink implements MetricsSink {
  /** The event file. */
  readonly path: string;
  readonly #file: ReopenedFile;
  readonly #warn: (message: string) => void;
  #warned = false;

  private constructor(path: string, warn: (message: string) => void) {
    this.path = path;
    this.#warn = warn;
    this.#file = ReopenedFile.open(path);
  }

  /**
   * Makes a new event file in a folder, and the folder where it is missing. `step` is the last that was taken; `warn` is told once where the
   * file was moved or deleted.
   */
  static open(
    folder: string,
    step: number,
    warn: (message: string) => void = () => {},
  ): TensorBoardSink {
    Deno.mkdirSync(folder, { recursive: true });
    const sink = new TensorBoardSink(join(folder, freeName(folder)), warn);
    try {
      sink.#begin(step);
    } catch (error) {
      sink[Symbol.dispose]();
      throw error;
    }
    return sink;
  }

  write(record: MetricsRecord): void {
    if (this.#file.reopen()) {
      if (!this.#warned) {
        this.#warn(
          `${this.path} was moved or deleted: TensorBoard's events go on in a new file there`,
        );
      }
      this.#warned = true;
      this.#begin(record.step - 1);
    }
    if (record.type === "stability" && record.event === "rollback") {
      this.#write({ step: record.to_step + 1, what: { kind: "start" } });
      return;
    }
    const values = seriesOf(record).flatMap(({ series, value }) =>
      value === null || series.field === "step"
        ? []
        : [[`${series.type}/${series.field}`, value] as const]
    );
    if (values.length > 0) this.#write({ step: record.step, what: { kind: "scalars", values } });
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }

  #begin(step: number): void {
    this.#write({ step: 0, what: { kind: "version" } });
    this.#write({ step: step + 1, what: { kind: "start" } });
  }

  /** One event is one write, so that a killed process leaves at most one torn event, which TensorBoard passes over. */
  #write(event: Omit<TensorBoardEvent, "wallTimeS">): void {
    this.#file.write(encodeEvent({ ...event, wallTimeS: Date.now() / 1000 }));
  }
}

/** TensorBoard reads a folder's files in the order of their names, so the time comes first. */
function freeName(folder: string): string {
  const taken = new Set([...Deno.readDirSync(folder)].map(({ name }) => name));
  for (let number = 0;; number++) {
    const seconds = String(Math.floor(Date.now() / 1000)).padStart(10, "0");
    const name = `events.out.tfevents.${seconds}.titanbit.${Deno.pid}.${number}`;
    if (!taken.has(name)) return name;
  }
}
