/**
 * A run's numbers for TensorBoard.
 *
 * @module
 */

import { join } from "@std/path";
import { encodeEvent, type TensorBoardEvent } from "./event_file.ts";
import type { MetricsRecord } from "./records.ts";
import { seriesOf } from "./series.ts";
import type { MetricsSink } from "./sinks.ts";

/**
 * Writes an event file: each number of a record is a scalar `type/field`, such as `step/loss`, in the record's unit.
 *
 * Steps that are undone, or that a run which was killed takes again, are void for TensorBoard, as a start of the session at an
 * earlier step tells it.
 */
export class TensorBoardSink implements MetricsSink {
  /** The event file. */
  readonly path: string;
  readonly #file: Deno.FsFile;

  private constructor(path: string) {
    this.path = path;
    this.#file = Deno.openSync(path, { createNew: true, write: true });
  }

  /** Makes a new event file in a folder, and the folder where it is missing. `step` is the last that was taken. */
  static open(folder: string, step: number): TensorBoardSink {
    Deno.mkdirSync(folder, { recursive: true });
    const sink = new TensorBoardSink(join(folder, freeName(folder)));
    try {
      sink.#write({ step: 0, what: { kind: "version" } });
      sink.#write({ step: step + 1, what: { kind: "start" } });
    } catch (error) {
      sink[Symbol.dispose]();
      throw error;
    }
    return sink;
  }

  write(record: MetricsRecord): void {
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
    this.#file.close();
  }

  /** One event is one write, so that a killed process leaves at most one torn event, which TensorBoard passes over. */
  #write(event: Omit<TensorBoardEvent, "wallTimeS">): void {
    const bytes = encodeEvent({ ...event, wallTimeS: Date.now() / 1000 });
    for (let at = 0; at < bytes.length;) at += this.#file.writeSync(bytes.subarray(at));
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
