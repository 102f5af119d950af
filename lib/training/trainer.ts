/**
 * A training run: data, model, optimizer, stability, checkpoints and records, joined in one loop.
 *
 * @module
 */

import { ownParametersOf, parameterTensors } from "../checkpoint/parameter_tensors.ts";
import type { RunConfig } from "../config/run_config.ts";
import { DataError } from "../data/errors.ts";
import { BatchLoader } from "../data/loader.ts";
import type { TokenDataset } from "../data/shards.ts";
import { LanguageModelEvaluator } from "../evaluation/language_model.ts";
import { TokenBytes } from "../evaluation/token_bytes.ts";
import { Device } from "../ffi/device.ts";
import type { Layers } from "../model/layers.ts";
import type { Pass } from "../model/pass.ts";
import type { BitNetTransformer } from "../model/transformer.ts";
import type { AdamW } from "../optim/adamw.ts";
import { createSchedule, type Schedule } from "../optim/schedule.ts";
import type { Fault } from "../stability/faults.ts";
import type { Decision, RollbackDecision } from "../stability/policy.ts";
import type { SnapshotPoint } from "../stability/snapshots.ts";
import { NEW_STABILITY_STATE } from "../stability/state.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { checkResumedModel } from "./check_resumed_model.ts";
import { openDatasets, openTokenizer } from "./datasets.ts";
import { findResumed } from "./find_resumed.ts";
import { type LoopState, parseLoopState, samplerAt, windowOf } from "./loop_state.ts";
import { RunCheckpoints } from "./run_checkpoints.ts";
import { checkResumedData, type RunData, runDataOf } from "./run_data.ts";
import { RunRecords } from "./run_records.ts";
import type { TrainingObserver } from "./observer.ts";
import { requireMemory } from "./fit.ts";
import { SampleWriter } from "./sample_writer.ts";
import { gaveUp, type GuardedTensors, StabilityGuard } from "./stability_guard.ts";
import { type StepResult, TrainingStep } from "./step.ts";
import type { StepFaults } from "./step_faults.ts";
import { optimizerTensors } from "./tensor_io.ts";
import type { TernaryStatistics } from "./ternary_statistics.ts";
import { createTrainedModel } from "./trained_model.ts";

/** Steps that may be queued on a card before their results are looked at, however rarely records are due. */
const MAX_QUEUED = 32;

/** Options of {@linkcode Trainer.open}. */
export interface TrainerOptions {
  /** A checkpoint's folder, or `latest` for the newest sound one of the run; a new run where left out. */
  readonly resume?: string;
  readonly observer: TrainingObserver;
  /** Version of the program, for the records. */
  readonly version: string;
  /** Faults made on purpose. @default none */
  readonly faults?: readonly Fault[];
  /** Layers to put in the place of BitNet's own. @default none */
  readonly layers?: Partial<Layers>;
  /** Steps that may be queued before their results are looked at. @default 1 on a CPU, else 32 */
  readonly maxQueued?: number;
}

/** A step that waits to be settled. */
interface QueuedStep {
  readonly lr: number;
  readonly weightDecay: number;
  /** Windows of data taken since the run began, this step's among them. */
  readonly window: number;
  readonly faults: StepFaults | null;
  /** Where it was judged before its update. */
  readonly decision: Decision | null;
}

/** How a run ended. */
export interface RunResult {
  /** `interrupted`: it was asked to stop, and a checkpoint holds where it stands. */
  readonly ended: "finished" | "interrupted";
  readonly state: LoopState;
  /** Checkpoint of the last step; null where none was due or it could not be written. */
  readonly checkpoint: string | null;
  /** Why the checkpoint of the last step could not be written, or is not safe; null where it is, or none was due. */
  readonly unsaved: string | null;
}

/** Trains a model as a {@linkcode RunConfig} says. It owns all that it opens: hold it with `using`. */
export class Trainer implements Disposable {
  readonly config: RunConfig;
  readonly model: BitNetTransformer;
  #resources: DisposableStack;
  readonly #optimizer: AdamW;
  readonly #pass: Pass;
  readonly #statistics: TernaryStatistics | null;
  readonly #step: TrainingStep;
  readonly #loader: BatchLoader;
  readonly #schedule: Schedule;
  readonly #guard: StabilityGuard;
  readonly #samples: SampleWriter | null;
  readonly #validation: { evaluator: LanguageModelEvaluator; dataset: TokenDataset } | null;
  readonly #checkpoints: RunCheckpoints;
  readonly #records: RunRecords;
  readonly #observer: TrainingObserver;
  readonly #version: string;
  /** Where the run stands, but for steps that are queued and not settled. */
  #state: LoopState;
  /** In order. */
  #queued: QueuedStep[] = [];
  /** When the first of them was queued. */
  #queuedAt = 0;
  /** Which of the last step and the last evaluation had no finite loss or gradient. */
  #broken = { step: false, validation: false };

  private constructor(parts: {
    config: RunConfig;
    options: TrainerOptions;
    resources: DisposableStack;
    device: Device;
    train: TokenDataset;
    validation: TokenDataset | null;
    tokenizer: Tokenizer | null;
    data: RunData;
    resumed: LoopState | null;
  }) {
    const { config, options, resources, device } = parts;
    const { training, optimizer } = config;
    this.config = config;
    this.#resources = resources;
    this.#version = options.version;
    this.#schedule = createSchedule({
      ...optimizer.schedule,
      lr: optimizer.lr,
      steps: training.steps,
      weightDecay: optimizer.weightDecay,
    });
    this.#loader = new BatchLoader(parts.train, {
      batchSize: training.microBatch,
      seqLen: training.seqLen,
      seed: config.data.seed,
    });
    if (parts.resumed !== null) this.#loader.seek(parts.resumed.sampler);
    const trained = createTrainedModel(config, { device, resources, layers: options.layers });
    this.model = trained.model;
    this.#optimizer = trained.optimizer;
    this.#pass = trained.pass;
    this.#statistics = trained.statistics;
    const { tokenizer, validation: dataset } = parts;
    this.#validation = dataset === null ? null : {
      dataset,
      evaluator: new LanguageModelEvaluator(this.model, {
        pass: this.#pass,
        tokenBytes: tokenizer === null ? null : new TokenBytes(tokenizer, dataset.startIds ?? []),
      }),
    };
    const { samples } = config.logging;
    // The config has no interval without a tokenizer.
    this.#samples = samples.everySteps === 0 || tokenizer === null ? null : resources.use(
      new SampleWriter(this.model, {
        ...{ samples, tokenizer, seqLen: training.seqLen },
        startIds: parts.train.startIds ?? tokenizer.startIds,
      }),
    );
    const { observer } = options;
    this.#observer = observer;
    const { ownLayers, parameters } = this.model;
    const ownParameters = ownParametersOf(config.model, parameters);
    this.#checkpoints = new RunCheckpoints(config, {
      tokenizer,
      observer,
      ownLayers,
      ownParameters,
      data: parts.data,
      startIds: parts.train.startIds ?? tokenizer?.startIds ?? null,
    });
    this.#records = new RunRecords(config, { observer, device });
    this.#state = parts.resumed ?? {
      step: 0,
      tokens: 0,
      updates: 0,
      skipped: 0,
      sampler: this.#loader.state,
      stability: NEW_STABILITY_STATE,
    };
    this.#guard = new StabilityGuard({
      config,
      tensors: this.#tensors(),
      checkpoints: this.#checkpoints,
      observer,
      state: this.#state.stability,
      faults: options.faults ?? [],
    });
    // The CPU is done with a step when the call returns: its result is there to be judged.
    const { maxQueued = device.backend === "cpu" ? 1 : MAX_QUEUED } = options;
    const lead = this.#guard.judgesBeforeUpdate ? 1 : maxQueued;
    this.#step = resources.use(
      new TrainingStep(this.model, {
        optimizer: this.#optimizer,
        pass: this.#pass,
        accumulationSteps: training.accumulationSteps,
        lrFactors: new Map(Object.entries(optimizer.lrFactors ?? {})),
        capacity: Math.min(config.logging.everySteps, lead),
      }),
    );
  }

  /**
   * Opens everything a run needs, checks it, and takes the memory.
   *
   * Throws `DataError`, `CheckpointError`, `NativeError` or `TokenizerError` for what can't be opened, `MemoryError` where
   * the plan does not fit, `RangeError` for a prompt of `logging.samples` that is too long; nothing is written.
   */
  static async open(config: RunConfig, options: TrainerOptions): Promise<Trainer> {
    using resources = new DisposableStack();
    const checkpoint = await findResumed(config, options);
    const resumed = checkpoint === null ? null : parseLoopState(checkpoint.state, checkpoint.path);
    const { training, data, model } = config;
    if (checkpoint !== null) checkResumedModel(checkpoint, model, options.layers);
    const device = resources.use(Device.open({
      kind: training.device,
      ...(training.threads !== "auto" && { threads: training.threads }),
      threadsSetting: "training.threads",
    }));
    requireMemory(config, {
      backend: device.backend,
      name: device.description.name,
      memoryBytes: device.description.memoryBytes,
      dtype: device.activationDtype,
      freeBytes: device.memory().freeBytes,
    }, options);
    if (device.library.description.cublasLt === null) {
      options.observer.warn(
        "No cuBLASLt was found: bfloat16 products run on the project's own kernels, which are slower; install CUDA's libraries or put them on LD_LIBRARY_PATH",
      );
    }
    const tokenizer = await openTokenizer(data, { resources, vocabSize: model.vocabSize });
    const warn = (message: string) => options.observer.warn(message);
    const opened = openDatasets(data, {
      resources,
      library: device.library,
      vocabSize: model.vocabSize,
      tokenizer,
      warn,
    });
    const files = runDataOf(opened, { warn });
    if (checkpoint !== null) checkResumedData(checkpoint, files, { opened, warn });
    const parts = { config, options, resources, device, tokenizer, resumed };
    const trainer = new Trainer({ ...parts, ...opened, data: files });
    await checkpoint?.restore(trainer.#tensors());
    trainer.#optimizer.restoreUpdates(trainer.#state.updates);
    trainer.model.parametersChanged();
    trainer.#resources = resources.move();
    return trainer;
  }

  /** Where the run stands, as far as the results of its steps are known. */
  get state(): LoopState {
    return this.#state;
  }

  /**
   * Trains until the last step, or until `shouldStop` says so after a step; a checkpoint is then saved.
   *
   * Throws `DivergedError` where stability gives up; the run is then back at a snapshot that a checkpoint holds.
   */
  async run(options: { shouldStop?: () => boolean } = {}): Promise<RunResult> {
    const { training, checkpoint, logging, stability } = this.config;
    this.#records.start(this.#state, {
      version: this.#version,
      parameters: this.model.parameters.count,
      snapshotBytes: this.#guard.snapshotBytes,
    });
    this.#guard.begin(this.#point());
    let saved: string | null = null;
    let interrupted = false;
    let step = this.#state.step;
    let saves = false;
    while (step < training.steps && !interrupted) {
      await this.#keepBeforeBadData(() => this.#queueStep(step));
      step++;
      let wrong = this.#step.queued === this.#step.capacity ? this.#settle() : null;
      interrupted = options.shouldStop?.() ?? false;
      const last = step === training.steps;
      const records = due(step, logging.everySteps) || last || interrupted || step === 1;
      const counts = due(step, logging.ternaryEvery);
      const validates = due(step, training.evalEvery) || (last && training.evalEvery > 0);
      const writes = this.#samples !== null && (due(step, logging.samples.everySteps) || last);
      saves = due(step, checkpoint.everySteps) || (last && checkpoint.saveFinal) ||
        interrupted;
      const snapshots = due(step, stability.snapshotEvery);
      if (wrong === null && (records || counts || validates || writes || saves || snapshots)) {
        wrong = this.#settle();
      }
      if (wrong !== null) {
        saved = await this.#goBack(wrong);
        ({ step } = this.#state);
        continue;
      }
      if (records) this.#records.step(this.#state, this.model.metrics.take());
      // Before an evaluation, whose tokens go through the same pass.
      if (counts && this.#statistics) this.#records.ternary(this.#statistics.collect(step));
      if (validates) await this.#keepBeforeBadData(() => this.#validate());
      if (writes) this.#writeSamples();
      if (snapshots) this.#guard.snapshotIfDue(this.#point());
      saved = saves ? await this.#save() : null;
    }
    const ended = interrupted ? "interrupted" : "finished";
    this.#records.event(this.#state, ended, interrupted ? "asked to stop" : "all steps done");
    if (ended === "finished" && (this.#broken.step || this.#broken.validation)) {
      this.#observer.warn(
        `The run ended on ${
          this.#broken.step ? "a step" : "a validation"
        } whose loss or gradient is not finite: try the model of step ` +
          `${step} before you build on it; if it is of no use, train anew, or on from an earlier checkpoint, with a lower optimizer.lr`,
      );
    }
    const unsaved = saves ? this.#checkpoints.failure : null;
    return { ended, state: this.#state, checkpoint: saved, unsaved };
  }

  [Symbol.dispose](): void {
    this.#resources.dispose();
  }

  /** Does what takes data. Where that turns out to be damaged, the steps before it are saved: they are sound. */
  async #keepBeforeBadData(action: () => void): Promise<void> {
    try {
      action();
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      if (this.#settle() !== null || this.#state.step === 0) throw error;
      const saved = await this.#save({ damaged: error.path });
      const kept = saved === null ? "nothing could be saved" : `${saved} holds the run as it was`;
      throw new DataError(`${error.message}; step ${this.#state.step} was the last, ${kept}`, {
        cause: error,
      });
    }
  }

  /** Queues the step after `step` others. */
  #queueStep(step: number): void {
    const lr = this.#schedule.lrAt(step) * this.#guard.lrFactor(this.#queued.length);
    const weightDecay = this.#schedule.weightDecayAt(step);
    const faults = this.#guard.faultsAt(step + 1);
    const window = windowOf(this.#loader.state) + this.config.training.batchSequences;
    let decision: Decision | null = null;
    const accepts = (result: StepResult) => {
      const numbers = faults?.distort(result) ?? result;
      decision = this.#guard.judge({ ...numbers, step: step + 1, window, applied: false });
      return decision.action === "continue";
    };
    if (this.#queued.length === 0) this.#queuedAt = performance.now();
    this.#step.queue(this.#loader, {
      lr,
      weightDecay,
      faults,
      ...(this.#guard.judgesBeforeUpdate && { accepts }),
    });
    this.#queued.push({ lr, weightDecay, window, faults, decision });
  }

  /** Waits for the queued steps and judges them one by one, up to one that must be undone. */
  #settle(): RollbackDecision | null {
    const settled = this.#step.settle();
    if (settled === null) return null;
    this.#records.addTime(settled, performance.now() - this.#queuedAt);
    const queued = this.#queued;
    this.#queued = [];
    for (const [index, result] of settled.results.entries()) {
      const { faults, window, lr, weightDecay, decision: before } = queued[index]!;
      const numbers = faults?.distort(result) ?? result;
      const applied = Number.isFinite(result.gradNorm);
      const judged = { ...numbers, step: this.#state.step + 1, window, applied };
      const decision = before ?? this.#guard.judge(judged);
      if ("candidates" in decision) return decision;
      const skipped = decision.action === "skip" ? 1 : 0;
      this.#broken.step = !Number.isFinite(numbers.loss) || !Number.isFinite(numbers.gradNorm);
      this.#count(window, skipped);
      const loss = skipped === 1 ? null : numbers.loss;
      this.#records.addStep({ loss, gradNorm: result.gradNorm, lr, weightDecay });
    }
    return null;
  }

  #count(window: number, skipped: 0 | 1): void {
    const before = this.#state;
    this.#state = {
      step: before.step + 1,
      tokens: before.tokens + this.config.training.tokensPerStep,
      updates: before.updates + 1 - skipped,
      skipped: before.skipped + skipped,
      sampler: samplerAt(window, before.sampler),
      stability: this.#guard.state,
    };
  }

  /** Goes back to a snapshot and on with other data; what the steps since did is undone, on disk too. */
  async #goBack(decision: RollbackDecision): Promise<string | null> {
    const back = await this.#guard.goBack(decision);
    let saved: string | null = null;
    if (back !== null) {
      const { to, window } = back;
      this.#loader.seek(samplerAt(window, this.#loader.state));
      this.#optimizer.restoreUpdates(to.updates);
      this.model.parametersChanged();
      this.#records.forget();
      this.model.metrics.forget();
      this.#statistics?.forget();
      this.#state = {
        step: to.step,
        tokens: to.tokens,
        updates: to.updates,
        skipped: to.skipped,
        sampler: this.#loader.state,
        stability: this.#guard.state,
      };
      saved = await this.#save({ undone: { from: to.step, to: decision.step } });
      if (decision.action === "rollback") return saved;
    }
    this.#records.event(this.#state, "stopped", decision.reason);
    throw gaveUp(decision, { to: back?.to.step ?? null, saved });
  }

  #validate(): void {
    if (this.#validation === null) return;
    const { evaluator, dataset } = this.#validation;
    const { evalTokens, seqLen } = this.config.training;
    const maxTokens = Math.ceil(evalTokens / seqLen) * seqLen;
    const found = evaluator.run(dataset, { maxTokens });
    this.#broken.validation = !Number.isFinite(found.loss);
    this.#records.validation(this.#state, found);
  }

  #writeSamples(): void {
    for (const written of this.#samples!.write(this.#state)) this.#records.sample(written);
  }

  /** Saves where the run stands; `undone`: steps whose checkpoints are void; `damaged`: a file of the data. */
  async #save(
    options: { undone?: { from: number; to: number }; damaged?: string | null } = {},
  ): Promise<string | null> {
    const point = this.#point();
    const stability = this.#guard.stateOfCheckpoint(point);
    const state = { ...this.#state, updates: point.updates, stability };
    const path = await this.#checkpoints.keep(state, { tensors: this.#tensors(), ...options });
    if (path !== null) this.#guard.savedCheckpoint(stability, point.step);
    else if (!this.#guard.missedCheckpoint(stability, point.step)) return null;
    this.#state = state;
    return path;
  }

  #tensors(): GuardedTensors {
    return {
      parameters: parameterTensors(this.model.parameters),
      optimizer: optimizerTensors(this.model.parameters, this.#optimizer),
    };
  }

  #point(): SnapshotPoint {
    const { step, tokens, skipped, sampler } = this.#state;
    const { updates } = this.#optimizer;
    return { step, tokens, updates, skipped, window: windowOf(sampler) };
  }
}

function due(step: number, every: number): boolean {
  return every > 0 && step % every === 0;
}
