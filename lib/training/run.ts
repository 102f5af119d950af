/**
 * Runs a training in a thread of its own, from the thread that keeps the event loop.
 *
 * @module
 */

import { holdRunFolder } from "../checkpoint/run_folder.ts";
import type { RunConfig } from "../config/run_config.ts";
import type { MetricsRecord, StepRecord } from "../metrics/records.ts";
import { MetricLog } from "../model/metric_log.ts";
import type { Fault } from "../stability/faults.ts";
import { MachineWatch } from "./machine_watch.ts";
import type { RunObserver } from "./observer.ts";
import { runFolder } from "./run_folder.ts";
import { RunSinks } from "./run_sinks.ts";
import type { RunResult } from "./trainer.ts";
import type { WorkerMessage, WorkerTask } from "./worker_messages.ts";

/** Options of {@linkcode runTraining}. */
export interface RunOptions {
  /** A checkpoint's folder, or `latest`; a new run where left out. */
  readonly resume?: string;
  readonly version: string;
  /** Faults made on purpose. @default none */
  readonly faults?: readonly Fault[];
  /**
   * Address of a module that exports `layers`, a `Partial<Layers>` in the place of BitNet's own: functions don't pass between threads, so
   * that the training's thread imports it. A resumed run is given it again. @default none
   */
  readonly layers?: URL;
  /**
   * Rights of the training's thread. Deno wants `--unstable-worker-options` for others than this thread's.
   * @default this thread's
   */
  readonly permissions?: Deno.PermissionOptionsObject;
  /** Told of every record and warning, on this thread; what it throws ends the run. */
  readonly observer: RunObserver;
  /** Aborting it stops the run after its step, with a checkpoint. */
  readonly signal?: AbortSignal;
}

/** A training failed in its thread; `name` is the error's own, such as `DataError`. */
export class TrainingError extends Error {
  constructor(message: string, options: { name: string; stack: string }) {
    super(message);
    this.name = options.name;
    this.stack = options.stack;
  }
}

/**
 * Trains as `config` says and hands the records, and those of the machine, to the sinks of `logging`.
 *
 * Throws {@linkcode TrainingError} with the message of what went wrong, `CheckpointError` where the run's folder can't be written or another
 * process trains there.
 */
export async function runTraining(config: RunConfig, options: RunOptions): Promise<RunResult> {
  using _folder = holdRunFolder(runFolder(config));
  const { resume, version, observer } = options;
  using sinks = new RunSinks(config, { resumed: resume !== undefined, version, observer });
  const own = new MetricLog();
  const failed = Promise.withResolvers<never>();
  const emit = (record: MetricsRecord) => {
    try {
      observer.record(record, own.log);
      sinks.write(record.type === "step" ? withMetrics(record, own) : record);
    } catch (error) {
      failed.reject(error);
    }
  };
  using machine = new MachineWatch({
    everyS: config.logging.machineEveryS,
    folder: runFolder(config),
    record: emit,
    warn: (message) => observer.warn(message),
  });
  const stop = new SharedArrayBuffer(4);
  const requestStop = () => Atomics.store(new Int32Array(stop), 0, 1);
  if (options.signal?.aborted) requestStop();
  const { permissions } = options;
  const worker = new Worker(
    new URL("./worker.ts", import.meta.url).href,
    { type: "module", ...(permissions && { deno: { permissions } }) } as WorkerOptions,
  );
  options.signal?.addEventListener("abort", requestStop);
  try {
    const ended = new Promise<RunResult>((resolve, reject) => {
      worker.onerror = (event) => {
        event.preventDefault();
        reject(new Error(`The training thread failed: ${event.message}`));
      };
      worker.onmessage = (event: MessageEvent<WorkerMessage>) => {
        const message = event.data;
        if (message.kind === "record") {
          emit(message.record);
          machine.follow(message.record);
        } else if (message.kind === "warning") {
          observer.warn(message.message);
        } else if (message.kind === "done") {
          resolve(message.result);
        } else {
          reject(new TrainingError(message.message, message));
        }
      };
      const task: WorkerTask = {
        config,
        resume: resume ?? null,
        version,
        faults: options.faults ?? [],
        layers: options.layers?.href ?? null,
        stop,
      };
      worker.postMessage(task);
    });
    const result = await Promise.race([ended, failed.promise]);
    warnOfUnrecorded(own, observer);
    return result;
  } finally {
    options.signal?.removeEventListener("abort", requestStop);
    worker.terminate();
  }
}

/** What a training of BitNet's own layers needs of the rights of its program: it writes to its run's folder alone. */
export function trainingPermissions(config: RunConfig): Deno.PermissionOptionsObject {
  return {
    ...{ read: "inherit", ffi: "inherit", env: "inherit", sys: "inherit", import: "inherit" },
    write: [runFolder(config)],
    net: false,
    run: "inherit",
  };
}

/** A step's record with what an observer logged; of two metrics of one name its own is taken. */
function withMetrics(record: StepRecord, own: MetricLog): StepRecord {
  const metrics = own.take();
  return metrics === null ? record : { ...record, metrics: { ...record.metrics, ...metrics } };
}

function warnOfUnrecorded(own: MetricLog, observer: RunObserver): void {
  const names = own.forget();
  if (names.length === 0) return;
  observer.warn(
    `No record has the last values of ${names.join(", ")}: they were logged after the last step's`,
  );
}
