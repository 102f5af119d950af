/**
 * A training run: data, model, optimizer, stability, checkpoints and records, joined in one loop.
 *
 * @module
 */

import { type Checkpoint, openCheckpoint } from "../checkpoint/open.ts";
import { CheckpointError } from "../checkpoint/errors.ts";
import { listCheckpoints, openLatest } from "../checkpoint/find.ts";
import type { SavedCheckpoint } from "../checkpoint/save.ts";
import type { RunConfig } from "../config/run_config.ts";
import { DataError } from "../data/errors.ts";
import { BatchLoader } from "../data/loader.ts";
import { TokenDataset } from "../data/shards.ts";
import { LanguageModelEvaluator } from "../evaluation/language_model.ts";
import { TokenBytes } from "../evaluation/token_bytes.ts";
import { Device } from "../ffi/device.ts";
import type { MetricsRecord } from "../metrics/records.ts";
import type { Pass } from "../model/pass.ts";
import { BitNetTransformer } from "../model/transformer.ts";
import { AdamW } from "../optim/adamw.ts";
import { createSchedule, type Schedule } from "../optim/schedule.ts";
import { DivergedError } from "../stability/diverged_error.ts";
import { NonFinitePolicy } from "../stability/non_finite.ts";
import { loadTokenizer, type Tokenizer } from "../tokenizer/tokenizer.ts";
import { type LoopState, parseLoopState } from "./loop_state.ts";
import { RunCheckpoints } from "./run_checkpoints.ts";
import { requireMemory } from "./fit.ts";
import { activationDtypeOf } from "./memory_plan.ts";
import { runFolder } from "./run_folder.ts";
import { Speedometer } from "./speedometer.ts";
import { type StepResult, TrainingStep } from "./step.ts";
import { optimizerTensors, parameterTensors } from "./tensor_io.ts";

/** Steps that may be queued on a card before their results are looked at, however rarely records are due. */
const MAX_QUEUED = 32;

/** Whom a trainer tells what happens. */
export interface TrainingObserver {
  /** A record of the run, in order. */
  record(record: MetricsRecord): void;
  /** Something the user should know that does not end the run. */
  warn(message: string): void;
}

/** Options of {@linkcode Trainer.open}. */
export interface TrainerOptions {
  /** A checkpoint's folder, or `latest` for the newest sound one of the run; a new run where left out. */
  readonly resume?: string;
  readonly observer: TrainingObserver;
  /** Version of the program, for the records. */
  readonly version: string;
}

/** How a run ended. */
export interface RunResult {
  /** `interrupted`: it was asked to stop, and a checkpoint holds where it stands. */
  readonly ended: "finished" | "interrupted";
  readonly state: LoopState;
  /** Checkpoint of the last step; null where none was due or it could not be written. */
  readonly checkpoint: string | null;
}

/** Trains a model as a {@linkcode RunConfig} says. It owns all that it opens: hold it with `using`. */
export class Trainer implements Disposable {
  readonly config: RunConfig;
  readonly model: BitNetTransformer;
  #resources: DisposableStack;
  readonly #observer: TrainingObserver;
  readonly #optimizer: AdamW;
  readonly #pass: Pass;
  readonly #step: TrainingStep;
  readonly #loader: BatchLoader;
  readonly #schedule: Schedule;
  readonly #policy: NonFinitePolicy;
  readonly #validation: { evaluator: LanguageModelEvaluator; dataset: TokenDataset } | null;
  readonly #checkpoints: RunCheckpoints;
  readonly #speed: Speedometer;
  readonly #version: string;
  /** Where the run stands, but for steps that are queued and not settled. */
  #state: LoopState;
  /** Rates of the queued steps, in order. */
  #queued: { lr: number; weightDecay: number }[] = [];
  /** When the first of them was queued. */
  #queuedAt = 0;
  /** Losses of the steps since the last record. */
  #lossSinceRecord = { sum: 0, count: 0 };
  /** The last step's. */
  #last = { lr: 0, weightDecay: 0, gradNorm: 0 };

  private constructor(parts: {
    config: RunConfig;
    options: TrainerOptions;
    resources: DisposableStack;
    device: Device;
    train: TokenDataset;
    validation: TokenDataset | null;
    tokenizer: Tokenizer | null;
    resumed: LoopState | null;
  }) {
    const { config, options, resources, device } = parts;
    const { training, optimizer, stability } = config;
    this.config = config;
    this.#resources = resources;
    this.#observer = options.observer;
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
    this.model = resources.use(
      BitNetTransformer.create(config.model, {
        device,
        seed: training.seed,
        dtype: activationDtypeOf(config, device.activationDtype),
        gradientDtype: training.gradientDtype,
      }),
    );
    this.#optimizer = resources.use(
      new AdamW(this.model.parameters, {
        beta1: optimizer.betas[0],
        beta2: optimizer.betas[1],
        eps: optimizer.eps,
        maxGradNorm: optimizer.maxGradNorm,
        state: optimizer.state,
      }),
    ).commit(device);
    this.#pass = resources.use(
      this.model.plan({
        sequences: training.microBatch,
        tokens: training.seqLen,
        training: true,
        recompute: training.recompute,
      }),
    ).commit(device);
    this.#step = resources.use(
      new TrainingStep(this.model, {
        optimizer: this.#optimizer,
        pass: this.#pass,
        accumulationSteps: training.accumulationSteps,
        // The CPU is done with a step when the call returns: its result is there to be judged.
        capacity: device.backend === "cpu" ? 1 : Math.min(config.logging.everySteps, MAX_QUEUED),
      }),
    );
    const { tokenizer, validation: dataset } = parts;
    this.#validation = dataset === null ? null : {
      dataset,
      evaluator: new LanguageModelEvaluator(this.model, {
        pass: this.#pass,
        tokenBytes: tokenizer === null ? null : new TokenBytes(tokenizer),
      }),
    };
    this.#checkpoints = new RunCheckpoints(config, tokenizer);
    this.#speed = new Speedometer(config, device);
    this.#state = parts.resumed ?? {
      step: 0,
      tokens: 0,
      updates: 0,
      skipped: 0,
      consecutiveSkips: 0,
      sampler: this.#loader.state,
    };
    this.#policy = new NonFinitePolicy({
      onNonFinite: stability.onNonFinite === "skip" ? "skip" : "stop",
      maxConsecutiveSkips: stability.maxConsecutiveSkips,
    }, this.#state.consecutiveSkips);
  }

  /**
   * Opens everything a run needs, checks it, and takes the memory.
   *
   * Throws `DataError`, `CheckpointError`, `NativeError` or `TokenizerError` for what can't be opened, `MemoryError` where
   * the plan does not fit; nothing is written.
   */
  static async open(config: RunConfig, options: TrainerOptions): Promise<Trainer> {
    using resources = new DisposableStack();
    const checkpoint = await findCheckpoint(config, options);
    const resumed = checkpoint === null ? null : parseLoopState(checkpoint.state, checkpoint.path);
    const { training, data, model } = config;
    const device = resources.use(Device.open({
      kind: training.device,
      ...(training.threads !== "auto" && { threads: training.threads }),
    }));
    requireMemory(config, {
      backend: device.backend,
      name: device.description.name,
      memoryBytes: device.description.memoryBytes,
      dtype: device.activationDtype,
      freeBytes: device.memory().freeBytes,
    });
    if (device.library.description.cublasLt === null) {
      options.observer.warn(
        "No cuBLASLt was found: bfloat16 products run on the project's own kernels, which are slower; install CUDA's libraries or put them on LD_LIBRARY_PATH",
      );
    }
    const tokenizer = data.tokenizer === null
      ? null
      : resources.use(await loadTokenizer(data.tokenizer));
    const shared = {
      library: device.library,
      vocabSize: model.vocabSize,
      tokenizerHash: tokenizer?.hash ?? null,
    };
    const train = resources.use(TokenDataset.open(data.train, { ...shared, advice: "random" }));
    const validation = data.validation === null
      ? null
      : resources.use(TokenDataset.open(data.validation, shared));
    if (validation !== null && validation.tokenCount < 2) {
      throw new DataError(
        `Cannot validate on ${data.validation} as it must hold at least 2 tokens: current count is ${validation.tokenCount}`,
        { path: data.validation! },
      );
    }
    const parts = { config, options, resources, device, train, validation, tokenizer, resumed };
    const trainer = new Trainer(parts);
    await checkpoint?.restore({
      parameters: parameterTensors(trainer.model.parameters),
      optimizer: optimizerTensors(trainer.model.parameters, trainer.#optimizer),
    });
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
   * Throws `DivergedError` where the numbers stop being finite for longer than the config allows.
   */
  async run(options: { shouldStop?: () => boolean } = {}): Promise<RunResult> {
    const { training, checkpoint, logging } = this.config;
    this.#recordStart();
    let saved: string | null = null;
    let interrupted = false;
    let step = this.#state.step;
    while (step < training.steps && !interrupted) {
      this.#queueStep(step++);
      if (this.#step.queued === this.#step.capacity) this.#settle();
      interrupted = options.shouldStop?.() ?? false;
      const last = step === training.steps;
      const records = due(step, logging.everySteps) || last || interrupted || step === 1;
      const validates = due(step, training.evalEvery) || (last && training.evalEvery > 0);
      const saves = due(step, checkpoint.everySteps) || (last && checkpoint.saveFinal) ||
        interrupted;
      if (records || validates || saves) this.#settle();
      if (records) this.#recordStep();
      if (validates) this.#validate();
      saved = saves ? await this.#save() : null;
    }
    const ended = interrupted ? "interrupted" : "finished";
    this.#event(ended, interrupted ? "asked to stop" : "all steps done");
    return { ended, state: this.#state, checkpoint: saved };
  }

  [Symbol.dispose](): void {
    this.#resources.dispose();
  }

  /** Queues the step after `step` others. */
  #queueStep(step: number): void {
    const rates = {
      lr: this.#schedule.lrAt(step),
      weightDecay: this.#schedule.weightDecayAt(step),
    };
    if (this.#queued.length === 0) this.#queuedAt = performance.now();
    this.#queued.push(rates);
    this.#step.queue(this.#loader, rates);
  }

  /** Waits for the queued steps and judges them one by one. */
  #settle(): void {
    const settled = this.#step.settle();
    if (settled === null) return;
    this.#speed.add(settled, performance.now() - this.#queuedAt);
    const rates = this.#queued;
    this.#queued = [];
    for (const [index, result] of settled.results.entries()) this.#judge(result, rates[index]!);
  }

  #judge(result: StepResult, rates: { lr: number; weightDecay: number }): void {
    const before = this.#state;
    const decision = this.#policy.judge(result);
    const skipped = decision === "continue" ? 0 : 1;
    this.#state = {
      step: before.step + 1,
      tokens: before.tokens + this.config.training.tokensPerStep,
      updates: before.updates + 1 - skipped,
      skipped: before.skipped + skipped,
      consecutiveSkips: this.#policy.consecutive,
      sampler: this.#loader.state,
    };
    this.#last = { ...rates, gradNorm: result.gradNorm };
    if (skipped === 0) {
      this.#lossSinceRecord.sum += result.loss;
      this.#lossSinceRecord.count++;
      return;
    }
    const what = `loss ${result.loss}, grad norm ${result.gradNorm}`;
    if (decision === "skip") {
      this.#event("non_finite", `${what}: the step is left out`);
      this.#observer.warn(`Step ${this.#state.step} is left out as it is not finite (${what})`);
      return;
    }
    this.#event("stopped", what);
    throw new DivergedError(
      `Cannot go on at step ${this.#state.step} as loss and gradients must be finite (${what}): ` +
        "lower optimizer.lr, or resume from an earlier checkpoint",
      this.#state.step,
    );
  }

  #recordStart(): void {
    const { config, model } = this;
    this.#observer.record({
      type: "run",
      step: this.#state.step,
      time: new Date().toISOString(),
      version: this.#version,
      run: config.checkpoint.run,
      device: model.device.description.name,
      backend: model.device.backend,
      parameters: model.parameters.count,
      tokens_per_step: config.training.tokensPerStep,
      steps: config.training.steps,
      undone_steps: 0,
      snapshot_bytes: 0,
    });
  }

  /** The loss is the mean of the steps since the last record, the rest is the last step's. */
  #recordStep(): void {
    const { sum, count } = this.#lossSinceRecord;
    this.#lossSinceRecord = { sum: 0, count: 0 };
    this.#observer.record({
      type: "step",
      step: this.#state.step,
      tokens: this.#state.tokens,
      loss: sum / count,
      lr: this.#last.lr,
      weight_decay: this.#last.weightDecay,
      grad_norm: this.#last.gradNorm,
      ...this.#speed.read(),
      skipped: this.#state.skipped,
    });
  }

  #validate(): void {
    if (this.#validation === null) return;
    const { evaluator, dataset } = this.#validation;
    const found = evaluator.run(dataset, { maxBatches: this.config.training.evalBatches });
    this.#observer.record({
      type: "validation",
      step: this.#state.step,
      tokens: this.#state.tokens,
      loss: found.loss,
      perplexity: found.perplexity,
      bits_per_byte: found.bitsPerByte,
      validation_tokens: found.tokens,
      validation_ms: found.ms,
    });
  }

  /** Saves where the run stands. A full disk costs the checkpoint, not the run. */
  async #save(): Promise<string | null> {
    this.#state = { ...this.#state, updates: this.#optimizer.updates };
    const { step } = this.#state;
    const record = { type: "checkpoint", step } as const;
    let saved: SavedCheckpoint;
    try {
      saved = await this.#checkpoints.save(this.#state, {
        parameters: parameterTensors(this.model.parameters),
        optimizer: optimizerTensors(this.model.parameters, this.#optimizer),
      });
    } catch (error) {
      const { message } = checkpointError(error);
      this.#observer.record({ ...record, path: "", write_ms: 0, size_bytes: 0, error: message });
      this.#observer.warn(`${message}; training goes on`);
      return null;
    }
    const { path, ms, bytes } = saved;
    this.#observer.record({ ...record, path, write_ms: ms, size_bytes: bytes, error: null });
    try {
      await this.#checkpoints.tidy(saved);
    } catch (error) {
      this.#observer.warn(`${checkpointError(error).message}; training goes on`);
    }
    return path;
  }

  #event(event: "non_finite" | "interrupted" | "stopped" | "finished", message: string): void {
    this.#observer.record({ type: "event", step: this.#state.step, event, message });
  }
}

/** Only a checkpoint's own errors are survived. */
function checkpointError(error: unknown): CheckpointError {
  if (error instanceof CheckpointError) return error;
  throw error;
}

function due(step: number, every: number): boolean {
  return every > 0 && step % every === 0;
}

/** The checkpoint to resume from; null for a new run. */
async function findCheckpoint(
  config: RunConfig,
  options: TrainerOptions,
): Promise<Checkpoint | null> {
  const { resume, observer } = options;
  const folder = runFolder(config);
  if (resume === undefined) {
    const [first] = listCheckpoints(folder);
    if (first === undefined) return null;
    throw new CheckpointError(
      `Cannot begin a run in ${folder} as it holds checkpoints of an earlier one, ${first.path} among them: ` +
        "go on with --resume latest, or take another name with --set checkpoint.run=NAME",
    );
  }
  if (resume !== "latest") return await openCheckpoint(resume);
  const found = await openLatest(folder);
  if (found === null) {
    throw new CheckpointError(
      `Cannot resume from the latest checkpoint as ${folder} holds none: leave --resume out to begin the run`,
    );
  }
  for (const { path, reason } of found.passedOver) {
    observer.warn(`Passed over ${path}: ${reason}`);
  }
  return found.checkpoint;
}
