/**
 * The records of a run, made of what its steps give.
 *
 * @module
 */

import type { RunConfig } from "../config/run_config.ts";
import type { Evaluation } from "../evaluation/language_model.ts";
import type { Device } from "../ffi/device.ts";
import type { EventRecord, SampleRecord, StepRecord, TernaryRecord } from "../metrics/records.ts";
import type { LoopState } from "./loop_state.ts";
import { Speedometer } from "./speedometer.ts";
import type { SettledSteps } from "./step.ts";
import type { TrainingObserver } from "./observer.ts";

/** A step that counts or was left out. */
export interface RecordedStep {
  /** Null where it was left out. */
  readonly loss: number | null;
  readonly gradNorm: number;
  readonly lr: number;
  readonly weightDecay: number;
}

/** Makes a run's records and hands them on. */
export class RunRecords {
  readonly #config: RunConfig;
  readonly #observer: TrainingObserver;
  readonly #device: Device;
  readonly #speed: Speedometer;
  /** Of the steps since the last record. */
  #losses = { sum: 0, count: 0 };
  #last: RecordedStep = { loss: null, gradNorm: 0, lr: 0, weightDecay: 0 };

  constructor(config: RunConfig, parts: { observer: TrainingObserver; device: Device }) {
    this.#config = config;
    this.#observer = parts.observer;
    this.#device = parts.device;
    this.#speed = new Speedometer(config, parts.device);
  }

  /** The first record of a start. */
  start(
    state: LoopState,
    facts: { version: string; parameters: number; snapshotBytes: number },
  ): void {
    const { checkpoint, training } = this.#config;
    this.#observer.record({
      type: "run",
      step: state.step,
      time: new Date().toISOString(),
      version: facts.version,
      run: checkpoint.run,
      device: this.#device.description.name,
      backend: this.#device.backend,
      parameters: facts.parameters,
      tokens_per_step: training.tokensPerStep,
      steps: training.steps,
      undone_steps: state.stability.undone,
      snapshot_bytes: facts.snapshotBytes,
      pci_bus_id: this.#device.description.pciBusId ?? null,
    });
  }

  /** Notes steps that together took `ms`. */
  addTime(settled: SettledSteps, ms: number): void {
    this.#speed.add(settled, ms);
  }

  /** Notes a step. */
  addStep(step: RecordedStep): void {
    this.#last = step;
    if (step.loss === null) return;
    this.#losses.sum += step.loss;
    this.#losses.count++;
  }

  /** Forgets the steps since the last record: they were undone. */
  forget(): void {
    this.#losses = { sum: 0, count: 0 };
  }

  /** The loss is the mean of the steps since the last record, the rest is the last step's; `metrics` are the layers' own. */
  step(state: LoopState, metrics: StepRecord["metrics"] | null): void {
    const { sum, count } = this.#losses;
    this.forget();
    this.#observer.record({
      type: "step",
      step: state.step,
      tokens: state.tokens,
      loss: sum / count,
      lr: this.#last.lr,
      weight_decay: this.#last.weightDecay,
      grad_norm: this.#last.gradNorm,
      ...this.#speed.read(),
      skipped: state.skipped,
      ...(metrics && { metrics }),
    });
  }

  /** Counts of the ternary weights. */
  ternary(counted: TernaryRecord): void {
    this.#observer.record(counted);
  }

  /** A text that the model wrote. */
  sample(written: SampleRecord): void {
    this.#observer.record(written);
  }

  /** An evaluation. */
  validation(state: LoopState, found: Evaluation): void {
    this.#observer.record({
      type: "validation",
      step: state.step,
      tokens: state.tokens,
      loss: found.loss,
      perplexity: found.perplexity,
      bits_per_byte: found.bitsPerByte,
      validation_tokens: found.tokens,
      validation_ms: found.ms,
    });
  }

  /** Something that happened to the run as a whole. */
  event(state: LoopState, event: EventRecord["event"], message: string): void {
    this.#observer.record({ type: "event", step: state.step, event, message });
  }
}
