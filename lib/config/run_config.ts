/**
 * What a run is, once its YAML has been read, checked and completed: no field is left open.
 *
 * YAML keys are the snake_case forms of these fields (`batch_sequences`).
 *
 * @module
 */

import type { BitNetConfig } from "../model/config.ts";
import type { ScheduleType } from "../optim/schedule.ts";
import type { StabilityConfig } from "../stability/options.ts";

/** A whole run. */
export interface RunConfig {
  /** Shape of the network. */
  readonly model: BitNetConfig;
  /** Where tokens come from. */
  readonly data: DataConfig;
  /** How long and in what batches. */
  readonly training: TrainingConfig;
  /** How weights move. */
  readonly optimizer: OptimizerConfig;
  /** What happens when numbers go wrong. */
  readonly stability: StabilityConfig;
  /** What is kept on disk. */
  readonly checkpoint: CheckpointConfig;
  /** What is shown and recorded. */
  readonly logging: LoggingConfig;
}

/** Where tokens come from. Paths are relative to the working directory, which `deno task` makes that of its caller. */
export interface DataConfig {
  /** Token files, one or more. */
  readonly train: readonly string[];
  /** Token file of held-out text, or `null` for none. @default null */
  readonly validation: string | null;
  /** tokenizer.json that goes into every checkpoint, or `null`. @default null */
  readonly tokenizer: string | null;
  /** Seed of the order of windows. @default training.seed */
  readonly seed: number;
}

/** Which native build runs the model: `auto` takes CUDA where there is a usable device. */
export type DeviceChoice = "auto" | "cuda" | "cpu";

/** Dtype of activations: `auto` is bfloat16 on CUDA and float32 on a CPU. */
export type ComputeDtype = "auto" | "float32" | "bfloat16";

/**
 * What the backward pass computes again instead of keeping it, to the same bits: the wide tensors of the feed-forward layers, or
 * everything of a block but its output.
 */
export const RECOMPUTE = ["none", "mlp", "block"] as const;

/** Dtype in which gradients of the projections add up; the other gradients are float32. */
export const GRADIENT_DTYPES = ["float32", "bfloat16"] as const;

/** How AdamW's moments of the projections are kept: 8, 4 or 2 bytes a weight. */
export const OPTIMIZER_STATES = ["fp32", "bf16", "int8"] as const;

/** How long and in what batches. */
export interface TrainingConfig {
  /** Optimizer steps of the whole run. */
  readonly steps: number;
  /** Tokens of a sequence. @default model.max_seq_len */
  readonly seqLen: number;
  /** Sequences of an optimizer step. */
  readonly batchSequences: number;
  /**
   * Sequences of one forward and backward pass. @default the largest divisor of the batch that fits a card's memory; on a CPU
   * within 16,384 tokens
   */
  readonly microBatch: number;
  /** Derived: forward and backward passes of an optimizer step. */
  readonly accumulationSteps: number;
  /** Derived: tokens of an optimizer step. */
  readonly tokensPerStep: number;
  /** @default "auto" */
  readonly device: DeviceChoice;
  /** CPU threads, at most one a core; `auto` is one a core. @default "auto" */
  readonly threads: number | "auto";
  /** Seed of the initial weights. @default 1337 */
  readonly seed: number;
  /** Optimizer steps between evaluations, 0 for none. @default a twentieth of the steps, 0 without validation */
  readonly evalEvery: number;
  /**
   * Tokens of an evaluation, rounded up to whole sequences, from the start of the validation file: the same whatever the micro-batch.
   * @default 32768
   */
  readonly evalTokens: number;
  /** @default "auto" */
  readonly computeDtype: ComputeDtype;
  /** @default "none" */
  readonly recompute: typeof RECOMPUTE[number];
  /** bfloat16 on a card alone. @default "float32" */
  readonly gradientDtype: typeof GRADIENT_DTYPES[number];
}

/** How weights move. */
export interface OptimizerConfig {
  readonly name: "adamw";
  /** Peak learning rate. */
  readonly lr: number;
  /** Decay of the first and second moment. @default [0.9, 0.95] */
  readonly betas: readonly [beta1: number, beta2: number];
  /** @default 1e-8 */
  readonly eps: number;
  /** Decoupled weight decay of matrices; norms have none. @default 0.1 */
  readonly weightDecay: number;
  /** Largest global gradient norm; larger ones are scaled down to it, 0 never clips. @default 1 */
  readonly maxGradNorm: number;
  /** @default "fp32" */
  readonly state: typeof OPTIMIZER_STATES[number];
  /** Learning rates of groups of parameters over `lr`, by the group's name. @default 1 for each */
  readonly lrFactors?: Readonly<Record<string, number>>;
  /** Names of parameters that are not trained, `*` in one for any text. @default none */
  readonly frozen?: readonly string[];
  /** How the rate goes over the run. */
  readonly schedule: ScheduleConfig;
}

/** How the learning rate goes over the run; `lib/optim/schedule.ts` has the formulas. */
export interface ScheduleConfig {
  /** @default "bitnet" for a ternary model, "cosine" for one that isn't */
  readonly type: ScheduleType;
  /** @default 375 as in the BitNet recipe, at most a tenth of the steps */
  readonly warmupSteps: number;
  /** Rate of the last step over `lr`. @default 0.02 for bitnet, 0.1 otherwise */
  readonly minLrRatio: number;
  /** `wsd` alone: fraction of the steps that decays. @default 0.2 */
  readonly decayFraction?: number;
  /** `bitnet` alone: fraction of the steps before the switch. @default 0.5 */
  readonly switchAt?: number;
  /** `bitnet` alone: peak of the second line. @default 2/3 of lr */
  readonly secondLr?: number;
}

/** What is kept on disk. */
export interface CheckpointConfig {
  /** Folder of all runs. @default "checkpoints" */
  readonly directory: string;
  /** Name of the run's folder. @default the config file's name */
  readonly run: string;
  /** Optimizer steps between checkpoints, 0 for none but the last. @default a tenth of the steps, at most 1000 */
  readonly everySteps: number;
  /** Newest checkpoints that are kept. @default 3 */
  readonly keepLast: number;
  /** Checkpoints at multiples of this many steps are kept for good, 0 for none. @default 0 */
  readonly keepEvery: number;
  /** Whether the last step is checkpointed whatever `everySteps` says. @default true */
  readonly saveFinal: boolean;
}

/** What is shown and recorded. */
export interface LoggingConfig {
  /** Optimizer steps between progress lines. @default 10 */
  readonly everySteps: number;
  /** File of JSONL records, or `null` for none. @default metrics.jsonl in the run's folder */
  readonly jsonl: string | null;
  /** `HOST:PORT` at which `/metrics` is served, port 0 for any that is free; null for none. @default null */
  readonly prometheus: string | null;
  /** Folder that gets a folder of TensorBoard's event files by the run's name, or null for none. @default null */
  readonly tensorboard: string | null;
  /** Seconds between records of the machine, 0 for none. @default 10 */
  readonly machineEveryS: number;
  /** `auto` draws a bar on a terminal that isn't dumb and plain lines elsewhere. @default "auto" */
  readonly console: "auto" | "bar" | "plain";
  /** Dense bfloat16 peak of the device in TFLOP/s, MFU's denominator; null takes the known card's. @default null */
  readonly peakTflops: number | null;
  /** Optimizer steps between records of the ternary weights, 0 for none. @default a thousandth of the steps, at least 100 */
  readonly ternaryEvery: number;
  /** Whether those tell how many weights changed their ternary value, which takes a byte a weight. @default false */
  readonly flipRate: boolean;
  /** Texts that the model writes on its way. */
  readonly samples: SamplesConfig;
}

/** Texts that the model writes on its way. */
export interface SamplesConfig {
  /** Optimizer steps between them, 0 for none. @default a twentieth of the steps, 0 without prompts */
  readonly everySteps: number;
  /** What is continued, each a text of its own. @default [] */
  readonly prompts: readonly string[];
  /** Tokens of a continuation at most. @default 64, at most half of training.seq_len */
  readonly maxTokens: number;
  /** Logits are divided by it; 0 always takes the likeliest token. @default 0 */
  readonly temperature: number;
  /** Seed of the choice of tokens, where `temperature` is above 0; training has its own. @default 0 */
  readonly seed: number;
}

/** Why a field has the value it has, where the YAML left it open. */
export interface ResolvedDefault {
  /** Dotted YAML key. */
  readonly key: string;
  /** The value that was chosen. */
  readonly value: unknown;
  /** One phrase. */
  readonly reason: string;
}
