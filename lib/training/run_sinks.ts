/**
 * Where the records of a run go besides the console.
 *
 * @module
 */

import { dirname, join } from "@std/path";
import type { RunConfig } from "../config/run_config.ts";
import { PrometheusSink } from "../metrics/prometheus.ts";
import type { MetricsRecord } from "../metrics/records.ts";
import { JsonlSink, type MetricsSink } from "../metrics/sinks.ts";
import { TelemetrySink } from "../metrics/telemetry.ts";
import { TensorBoardSink } from "../metrics/tensorboard.ts";
import type { TrainingObserver } from "./observer.ts";

/** Options of {@linkcode RunSinks}. */
export interface RunSinksOptions {
  /** Whether the run goes on from a checkpoint. */
  readonly resumed: boolean;
  /** Of TitanBit. */
  readonly version: string;
  /** Told what is lost, and where metrics are served. */
  readonly observer: Pick<TrainingObserver, "warn" | "note">;
}

/** What says where records go. */
export interface SinksConfig {
  readonly logging: Pick<RunConfig["logging"], "jsonl" | "tensorboard" | "prometheus">;
  readonly checkpoint: Pick<RunConfig["checkpoint"], "run">;
}

/** A sink that is opened with the first record, which says after which step a resumed run goes on. */
interface PlannedSink {
  /** What can't be done where it fails: `write records to metrics.jsonl`. */
  readonly what: string;
  open(first: MetricsRecord): MetricsSink;
}

/** Hands each record to every sink. One that fails is told of once and left out from then on; the run never fails by it. */
export class RunSinks implements Disposable {
  readonly #options: RunSinksOptions;
  #waiting: readonly PlannedSink[];
  #open: { what: string; sink: MetricsSink }[] = [];

  constructor(config: SinksConfig, options: RunSinksOptions) {
    this.#options = options;
    this.#waiting = plan(config, options);
  }

  /** Takes a record. Never throws. */
  write(record: MetricsRecord): void {
    for (const { what, open } of this.#waiting) {
      this.#try(what, () => {
        this.#open.push({ what, sink: open(record) });
      });
    }
    this.#waiting = [];
    this.#open = this.#open.filter(({ what, sink }) => {
      if (this.#try(what, () => sink.write(record))) return true;
      this.#close(sink);
      return false;
    });
  }

  [Symbol.dispose](): void {
    for (const { sink } of this.#open) this.#close(sink);
    this.#open = [];
  }

  /** Whether `action` went well; a warning where it didn't. */
  #try(what: string, action: () => void): boolean {
    try {
      action();
      return true;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#options.observer.warn(`Cannot ${what}: ${reason}; training goes on without them`);
      return false;
    }
  }

  /** A file on a full disk may fail to close; it was told of before. */
  #close(sink: MetricsSink): void {
    try {
      sink[Symbol.dispose]();
    } catch {
      // Nothing is left to lose.
    }
  }
}

function plan(config: SinksConfig, options: RunSinksOptions): PlannedSink[] {
  const { jsonl, prometheus, tensorboard } = config.logging;
  const { run } = config.checkpoint;
  const warn = (message: string) => options.observer.warn(message);
  const sinks: PlannedSink[] = [{
    what: "hand metrics to OpenTelemetry",
    open: () => new TelemetrySink(run, options.version),
  }];
  if (jsonl !== null) {
    sinks.push({
      what: `write records to ${jsonl}`,
      open: (first) => openJsonl(jsonl, first, { resumed: options.resumed, warn }),
    });
  }
  if (tensorboard !== null) {
    const folder = join(tensorboard, run);
    sinks.push({
      what: `write TensorBoard's events to ${folder}`,
      open: ({ step }) => TensorBoardSink.open(folder, step, warn),
    });
  }
  if (prometheus !== null) {
    sinks.push({
      what: `serve metrics at ${prometheus}`,
      open: () => {
        const sink = PrometheusSink.open(prometheus, run, (message) => {
          options.observer.warn(`${message}; training goes on`);
        });
        options.observer.note?.(`metrics are at ${sink.url}`);
        return sink;
      },
    });
  }
  return sinks;
}

function openJsonl(
  path: string,
  first: MetricsRecord,
  { resumed, warn }: { resumed: boolean; warn: (message: string) => void },
): MetricsSink {
  Deno.mkdirSync(dirname(path), { recursive: true });
  if (!resumed || first.type !== "run") return JsonlSink.open(path, { warn });
  const { step, undone_steps: undone } = first;
  return JsonlSink.open(path, { resumeAfter: { step, undone }, warn });
}
