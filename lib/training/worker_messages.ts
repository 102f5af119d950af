/**
 * What the main thread and the training thread tell each other.
 *
 * @module
 */

import type { RunConfig } from "../config/run_config.ts";
import type { MetricsRecord } from "../metrics/records.ts";
import type { Fault } from "../stability/faults.ts";
import type { RunResult } from "./trainer.ts";

/** The one message to the training thread. */
export interface WorkerTask {
  readonly config: RunConfig;
  /** `latest`, a checkpoint's folder, or null for a new run. */
  readonly resume: string | null;
  readonly version: string;
  readonly faults: readonly Fault[];
  /** Address of the module with the layers in the place of BitNet's own, or null. */
  readonly layers: string | null;
  /** One int32: not 0 asks the run to stop after its step. */
  readonly stop: SharedArrayBuffer;
}

/** Messages from the training thread; `done` or `failed` is the last. */
export type WorkerMessage =
  | { readonly kind: "record"; readonly record: MetricsRecord }
  | { readonly kind: "warning"; readonly message: string }
  | { readonly kind: "done"; readonly result: RunResult }
  | {
    readonly kind: "failed";
    readonly name: string;
    readonly message: string;
    readonly stack: string;
  };
