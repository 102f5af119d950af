/**
 * Records of a loop of one's own, as those of a whole run.
 *
 * @module
 */

import meta from "../../deno.json" with { type: "json" };
import type { MetricsRecord } from "../metrics/records.ts";
import type { Log } from "../model/metric_log.ts";
import type { BitNetTransformer } from "../model/transformer.ts";
import type { TrainingObserver } from "./observer.ts";
import { RunSinks } from "./run_sinks.ts";

/** Options of {@linkcode LoopRecorder}. */
export interface LoopRecorderOptions {
  /** Name of the run. */
  readonly run: string;
  /** Optimizer steps of the whole run. */
  readonly steps: number;
  /** Tokens of an optimizer step. */
  readonly tokensPerStep: number;
  /** Steps between records; the first and the last have one too. @default 10 */
  readonly everySteps?: number;
  /** JSONL file that `deno task dashboard` and `report` read; one that is there is moved aside. @default none */
  readonly jsonl?: string;
  /** Folder in which a folder of the run's name gets TensorBoard's event files. @default none */
  readonly tensorboard?: string;
  /** `HOST:PORT` at which Prometheus finds `/metrics`. @default none */
  readonly prometheus?: string;
  /** Told of every record, and of sinks that fail. */
  readonly observer?: Pick<TrainingObserver, "record" | "warn">;
}

/** What a loop knows of a step. */
export interface LoopStep {
  /** Mean loss of the step's tokens. */
  readonly loss: number;
  readonly lr: number;
  /** @default 0 */
  readonly weightDecay?: number;
  /** Global norm before clipping, or what gives it where a record is due: the optimizer's waits for the device. */
  readonly gradNorm: number | (() => number);
}

/**
 * Counts the steps of a loop and records those that are due, with the metrics that layers and {@linkcode LoopRecorder.log} gave. It owns
 * its files and its port: hold it with `using`.
 */
export class LoopRecorder implements Disposable {
  readonly #model: BitNetTransformer;
  readonly #options: LoopRecorderOptions;
  readonly #sinks: RunSinks;
  #step = 0;
  #losses = { sum: 0, count: 0 };
  #recordedAt = { step: 0, ms: performance.now() };

  /** Opens the sinks with the record of the start. A sink that fails is told of, and left out. */
  constructor(model: BitNetTransformer, options: LoopRecorderOptions) {
    const { everySteps = 10 } = options;
    if (!Number.isInteger(everySteps) || everySteps < 1) {
      throw new RangeError(
        `Cannot record a loop as everySteps must be a whole number above 0: current value is ${everySteps}`,
      );
    }
    this.#model = model;
    this.#options = options;
    const { jsonl = null, tensorboard = null, prometheus = null } = options;
    this.#sinks = new RunSinks({
      logging: { jsonl, tensorboard, prometheus },
      checkpoint: { run: options.run },
    }, {
      resumed: false,
      version: meta.version,
      observer: { warn: (message) => options.observer?.warn(message) },
    });
    const { device } = model;
    this.#emit({
      type: "run",
      step: 0,
      time: new Date().toISOString(),
      version: meta.version,
      run: options.run,
      device: device.description.name,
      backend: device.backend,
      parameters: model.parameters.count,
      tokens_per_step: options.tokensPerStep,
      steps: options.steps,
      undone_steps: 0,
      snapshot_bytes: 0,
      pci_bus_id: device.description.pciBusId ?? null,
    });
  }

  /** Logs metrics of the loop's own for the next record. */
  get log(): Log {
    return this.#model.metrics.log;
  }

  /** Says that a step is done. Loss and time of a record are means of the steps since the last, the rest is the last step's. */
  step(done: LoopStep): void {
    const step = ++this.#step;
    this.#losses.sum += done.loss;
    this.#losses.count++;
    const { everySteps = 10, steps, tokensPerStep } = this.#options;
    if (step !== 1 && step % everySteps !== 0 && step !== steps) return;
    const { gradNorm } = done;
    const metrics = this.#model.metrics.take();
    const norm = typeof gradNorm === "number" ? gradNorm : gradNorm();
    const now = performance.now(); // after what waits for the device
    const stepMs = (now - this.#recordedAt.ms) / (step - this.#recordedAt.step);
    const { sum, count } = this.#losses;
    this.#losses = { sum: 0, count: 0 };
    this.#recordedAt = { step, ms: now };
    this.#emit({
      type: "step",
      step,
      tokens: step * tokensPerStep,
      loss: sum / count,
      lr: done.lr,
      weight_decay: done.weightDecay ?? 0,
      grad_norm: norm,
      step_ms: stepMs,
      forward_ms: null,
      backward_ms: null,
      optimizer_ms: null,
      data_ms: null,
      tokens_per_s: 1000 * tokensPerStep / stepMs,
      mfu_bf16: null,
      mfu_mixed: null,
      skipped: 0,
      ...(metrics && { metrics }),
    });
  }

  /** Records how the loop ended: `finished` after its last step, `interrupted` before. */
  [Symbol.dispose](): void {
    const finished = this.#step >= this.#options.steps;
    this.#emit({
      type: "event",
      step: this.#step,
      event: finished ? "finished" : "interrupted",
      message: finished ? "all steps done" : "the loop ended before its last step",
    });
    this.#sinks[Symbol.dispose]();
  }

  #emit(record: MetricsRecord): void {
    this.#sinks.write(record);
    this.#options.observer?.record(record);
  }
}
