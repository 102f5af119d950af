/**
 * Runs a training in a thread of its own, from the thread that keeps the event loop.
 *
 * @module
 */

import { dirname } from "@std/path";
import type { RunConfig } from "../config/run_config.ts";
import { JsonlSink, type MetricsSink, nullSink } from "../metrics/sinks.ts";
import type { Fault } from "../stability/faults.ts";
import type { MetricsRecord } from "../metrics/records.ts";
import type { TrainingObserver } from "./observer.ts";
import type { RunResult } from "./trainer.ts";
import type { WorkerMessage, WorkerTask } from "./worker_messages.ts";

/** Options of {@linkcode runTraining}. */
export interface RunOptions {
  /** A checkpoint's folder, or `latest`; a new run where left out. */
  readonly resume?: string;
  readonly version: string;
  /** Faults made on purpose. @default none */
  readonly faults?: readonly Fault[];
  /** Told of every record and warning, on this thread. */
  readonly observer: TrainingObserver;
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
 * Trains as `config` says and writes the records to `logging.jsonl`.
 *
 * Throws {@linkcode TrainingError} with the message of what went wrong.
 */
export async function runTraining(config: RunConfig, options: RunOptions): Promise<RunResult> {
  const stop = new SharedArrayBuffer(4);
  const requestStop = () => Atomics.store(new Int32Array(stop), 0, 1);
  if (options.signal?.aborted) requestStop();
  options.signal?.addEventListener("abort", requestStop);
  const worker = new Worker(new URL("./worker.ts", import.meta.url).href, { type: "module" });
  using records = new RecordFile(config, options);
  try {
    return await new Promise<RunResult>((resolve, reject) => {
      worker.onerror = (event) => {
        event.preventDefault();
        reject(new Error(`The training thread failed: ${event.message}`));
      };
      worker.onmessage = (event: MessageEvent<WorkerMessage>) => {
        const message = event.data;
        if (message.kind === "record") {
          records.write(message.record);
          options.observer.record(message.record);
        } else if (message.kind === "warning") {
          options.observer.warn(message.message);
        } else if (message.kind === "done") {
          resolve(message.result);
        } else {
          reject(new TrainingError(message.message, message));
        }
      };
      const task: WorkerTask = {
        config,
        resume: options.resume ?? null,
        version: options.version,
        faults: options.faults ?? [],
        stop,
      };
      worker.postMessage(task);
    });
  } finally {
    options.signal?.removeEventListener("abort", requestStop);
    worker.terminate();
  }
}

/** The run's JSONL file. A disk that can't take records costs the records, not the run. */
class RecordFile implements Disposable {
  readonly #path: string | null;
  readonly #options: RunOptions;
  #sink: MetricsSink | null = null;
  #failed = false;

  constructor(config: RunConfig, options: RunOptions) {
    this.#path = config.logging.jsonl;
    this.#options = options;
  }

  write(record: MetricsRecord): void {
    if (this.#failed) return;
    try {
      this.#sink ??= this.#open(record);
      this.#sink.write(record);
    } catch (error) {
      this.#failed = true;
      const reason = error instanceof Error ? error.message : String(error);
      this.#options.observer.warn(
        `Cannot write records to ${this.#path}: ${reason}; training goes on without them`,
      );
    }
  }

  [Symbol.dispose](): void {
    this.#sink?.[Symbol.dispose]();
  }

  /** Opened with the first record, which says after which step a resumed run goes on. */
  #open(first: MetricsRecord): MetricsSink {
    if (this.#path === null) return nullSink();
    Deno.mkdirSync(dirname(this.#path), { recursive: true });
    if (this.#options.resume === undefined || first.type !== "run") {
      return JsonlSink.open(this.#path);
    }
    const { step, undone_steps: undone } = first;
    return JsonlSink.open(this.#path, { resumeAfter: { step, undone } });
  }
}
