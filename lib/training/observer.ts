/**
 * Whom a run tells what happens.
 *
 * @module
 */

import type { MetricsRecord } from "../metrics/records.ts";
import type { Log } from "../model/metric_log.ts";

/** Whom a trainer tells what happens. */
export interface TrainingObserver {
  /** A record of the run, in order. */
  record(record: MetricsRecord): void;
  /** Something the user should know that does not end the run. */
  warn(message: string): void;
  /** Something the user may want to know, such as an address. */
  note?(message: string): void;
}

/** Whom a program has told of its run, and who may log metrics of its own. */
export interface RunObserver extends Omit<TrainingObserver, "record"> {
  /**
   * A record of the run, in order. What is logged on a step's record becomes part of that very record in the sinks, on any other one
   * part of the next step's.
   */
  record(record: MetricsRecord, log: Log): void;
}
