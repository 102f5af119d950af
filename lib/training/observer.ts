/**
 * Whom a run tells what happens.
 *
 * @module
 */

import type { MetricsRecord } from "../metrics/records.ts";

/** Whom a trainer tells what happens. */
export interface TrainingObserver {
  /** A record of the run, in order. */
  record(record: MetricsRecord): void;
  /** Something the user should know that does not end the run. */
  warn(message: string): void;
  /** Something the user may want to know, such as an address. */
  note?(message: string): void;
}
