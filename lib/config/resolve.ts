/**
 * From checked YAML to a complete run: what must hold between keys, and the value and reason of every key that
 * was left open.
 *
 * @module
 */

import { BITNET_SECOND_LR_RATIO, type ScheduleType } from "../optim/schedule.ts";
import type { ResolvedDefault, RunConfig, ScheduleConfig, TrainingConfig } from "./run_config.ts";
import { resolveLogging } from "./resolve_logging.ts";
import { resolveModel } from "./resolve_model.ts";
import { resolveStability } from "./resolve_stability.ts";
import { type Conflict, Resolver } from "./resolver.ts";
import type { RawRunConfig } from "./schema.ts";

/** What {@linkcode resolveRunConfig} returns: a run, or every rule that is broken. */
export type Resolution =
  | { readonly config: RunConfig; readonly defaults: readonly ResolvedDefault[] }
  | { readonly conflicts: readonly Conflict[] };

/** Tokens of a micro-batch that is chosen automatically stay within this. */
const AUTO_MICRO_BATCH_TOKENS = 16_384;
/** Tokens of an evaluation where nothing says how many. */
const EVAL_TOKENS = 32_768;
/** Of a run that says neither steps nor tokens. */
const UNKNOWN_STEPS = Number.MAX_SAFE_INTEGER;
/** Warm-up of the BitNet recipe. */
const RECIPE_WARMUP = 375;

/**
 * Completes and cross-checks a run.
 *
 * @param raw What the schema accepted.
 * @param runName Name of the run where `checkpoint.run` is absent.
 */
export function resolveRunConfig(raw: RawRunConfig, runName: string): Resolution {
  const resolver = new Resolver();
  const model = resolveModel(raw, resolver);
  const training = resolveTraining(
    raw,
    model?.maxSeqLen ?? raw.model.max_seq_len ?? 2048,
    resolver,
  );
  const schedule = resolveSchedule(raw, training.steps, resolver);
  if (model === undefined) return { conflicts: resolver.conflicts };
  const { data, optimizer, stability, checkpoint } = raw;
  const directory = resolver.pick("checkpoint.directory", checkpoint.directory, "checkpoints");
  const run = resolver.pick("checkpoint.run", checkpoint.run, runName, "name of the config");
  const everySteps = resolver.pick(
    "checkpoint.every_steps",
    checkpoint.every_steps,
    Math.min(1000, Math.ceil(training.steps / 10)),
    "a tenth of the steps, at most 1000",
  );
  const config: RunConfig = {
    model,
    data: {
      train: typeof data.train === "string" ? [data.train] : data.train,
      validation: resolver.pick("data.validation", data.validation, null),
      tokenizer: resolver.pick("data.tokenizer", data.tokenizer, null),
      seed: resolver.pick("data.seed", data.seed, training.seed, "training.seed"),
    },
    training,
    optimizer: {
      name: resolver.pick("optimizer.name", optimizer.name, "adamw"),
      lr: optimizer.lr,
      betas: resolver.pick("optimizer.betas", optimizer.betas, [0.9, 0.95]),
      eps: resolver.pick("optimizer.eps", optimizer.eps, 1e-8),
      weightDecay: resolver.pick("optimizer.weight_decay", optimizer.weight_decay, 0.1),
      maxGradNorm: resolver.pick("optimizer.max_grad_norm", optimizer.max_grad_norm, 1),
      state: resolver.pick("optimizer.state", optimizer.state, "fp32"),
      // Where left open they stay so: a checkpoint from before they were there has the same
      // settings.
      ...(optimizer.lr_factors !== undefined && { lrFactors: optimizer.lr_factors }),
      ...(optimizer.frozen !== undefined && { frozen: optimizer.frozen }),
      schedule,
    },
    stability: resolveStability(stability, training.steps, resolver),
    checkpoint: {
      directory,
      run,
      everySteps,
      keepLast: resolver.pick("checkpoint.keep_last", checkpoint.keep_last, 3),
      keepEvery: resolver.pick("checkpoint.keep_every", checkpoint.keep_every, 0),
      saveFinal: resolver.pick("checkpoint.save_final", checkpoint.save_final, true),
    },
    logging: resolveLogging(raw, {
      ternary: model.quantization === "ternary",
      steps: training.steps,
      seqLen: training.seqLen,
      tokenizer: data.tokenizer ?? null,
      folder: `${directory.replace(/\/+$/, "")}/${run}`,
      resolver,
    }),
  };
  checkFiles(config, resolver);
  return resolver.conflicts.length > 0
    ? { conflicts: resolver.conflicts }
    : { config, defaults: resolver.defaults };
}

function resolveTraining(
  raw: RawRunConfig,
  maxSeqLen: number,
  resolver: Resolver,
): TrainingConfig {
  const { training } = raw;
  const seqLen = resolver.pick(
    "training.seq_len",
    training.seq_len,
    maxSeqLen,
    "model.max_seq_len",
  );
  resolver.require(seqLen <= maxSeqLen, {
    key: "training.seq_len",
    expected: `at most model.max_seq_len (${maxSeqLen})`,
    got: seqLen,
  });
  const batch = training.batch_sequences;
  const tokensPerStep = batch * seqLen;
  const automatic = largestDivisor(
    batch,
    Math.max(1, Math.floor(AUTO_MICRO_BATCH_TOKENS / seqLen)),
  );
  const microBatch = typeof training.micro_batch === "number"
    ? training.micro_batch
    : resolver.pick(
      "training.micro_batch",
      undefined,
      automatic,
      `largest divisor of ${batch} sequences within ${AUTO_MICRO_BATCH_TOKENS} tokens; a card takes the largest that fits`,
    );
  resolver.require(batch % microBatch === 0, {
    key: "training.micro_batch",
    expected: `a divisor of batch_sequences (${batch}), so that accumulation makes up whole steps`,
    got: microBatch,
    hint: `; the nearest below is ${largestDivisor(batch, microBatch)}`,
  });
  const steps = resolveSteps(training, tokensPerStep, resolver);
  resolver.require(steps * tokensPerStep <= Number.MAX_SAFE_INTEGER || steps === UNKNOWN_STEPS, {
    key: training.steps === undefined ? "training.tokens" : "training.steps",
    expected:
      `a run of at most ${Number.MAX_SAFE_INTEGER} tokens, which a checkpoint can count (${tokensPerStep} a step)`,
    got: training.steps ?? training.tokens,
  });
  const validated = raw.data.validation !== undefined && raw.data.validation !== null;
  const evalEvery = validated
    ? resolver.pick(
      "training.eval_every",
      training.eval_every,
      Math.max(1, Math.round(steps / 20)),
      "a twentieth of the steps",
    )
    : resolver.pick("training.eval_every", training.eval_every, 0, "there is no data.validation");
  resolver.require(validated || evalEvery === 0, {
    key: "training.eval_every",
    expected: "0 where data.validation is absent",
    got: evalEvery,
  });
  const device = resolver.pick("training.device", training.device, "auto");
  const computeDtype = resolver.pick("training.compute_dtype", training.compute_dtype, "auto");
  const gradientDtype = resolver.pick(
    "training.gradient_dtype",
    training.gradient_dtype,
    "float32",
  );
  resolver.require(!(device === "cpu" && gradientDtype === "bfloat16"), {
    key: "training.gradient_dtype",
    expected: "float32 where training.device is cpu",
    got: gradientDtype,
  });
  resolver.require(!(device === "cpu" && computeDtype === "bfloat16"), {
    key: "training.compute_dtype",
    expected: "auto or float32 where training.device is cpu",
    got: computeDtype,
  });
  return {
    steps,
    seqLen,
    batchSequences: batch,
    microBatch,
    accumulationSteps: batch / microBatch,
    tokensPerStep,
    device,
    threads: resolver.pick("training.threads", training.threads, "auto"),
    seed: resolver.pick("training.seed", training.seed, 1337),
    evalEvery,
    evalTokens: resolver.pick(
      "training.eval_tokens",
      training.eval_tokens,
      EVAL_TOKENS,
      `${Math.ceil(EVAL_TOKENS / seqLen)} sequences of ${seqLen}`,
    ),
    computeDtype,
    recompute: resolver.pick("training.recompute", training.recompute, "none"),
    gradientDtype,
  };
}

function resolveSteps(
  training: RawRunConfig["training"],
  tokensPerStep: number,
  resolver: Resolver,
): number {
  const { steps, tokens } = training;
  if (steps !== undefined) {
    resolver.require(tokens === undefined, {
      key: "training.tokens",
      expected: "one of training.steps and training.tokens",
      got: "both",
    });
    return steps;
  }
  resolver.require(tokens !== undefined, {
    key: "training.steps",
    expected: "training.steps or training.tokens",
    got: "neither",
  });
  if (tokens === undefined) return UNKNOWN_STEPS; // no second complaint about what steps bounds
  return resolver.pick(
    "training.steps",
    undefined,
    Math.ceil(tokens / tokensPerStep),
    `${tokens} tokens at ${tokensPerStep} a step`,
  );
}

function resolveSchedule(
  raw: RawRunConfig,
  steps: number,
  resolver: Resolver,
): ScheduleConfig {
  const { schedule, lr } = raw.optimizer;
  const ternary = raw.model.quantization !== "none";
  const type = resolver.pick<ScheduleType>(
    "optimizer.schedule.type",
    schedule.type,
    ternary ? "bitnet" : "cosine",
    ternary ? "the recipe of ternary models" : "the model isn't ternary",
  );
  const warmupSteps = resolver.pick(
    "optimizer.schedule.warmup_steps",
    schedule.warmup_steps,
    Math.min(RECIPE_WARMUP, Math.floor(steps / 10)),
    `${RECIPE_WARMUP}, at most a tenth of the steps`,
  );
  resolver.require(warmupSteps <= steps, {
    key: "optimizer.schedule.warmup_steps",
    expected: `at most the steps of the run (${steps})`,
    got: warmupSteps,
  });
  const minLrRatio = resolver.pick(
    "optimizer.schedule.min_lr_ratio",
    schedule.min_lr_ratio,
    type === "bitnet" ? 0.02 : 0.1,
    `default of ${type}`,
  );
  for (
    const [key, owner] of [["decay_fraction", "wsd"], ["switch_at", "bitnet"], [
      "second_lr",
      "bitnet",
    ]] as const
  ) {
    resolver.require(schedule[key] === undefined || type === owner, {
      key: `optimizer.schedule.${key}`,
      expected: `schedule type ${owner} beside ${key}`,
      got: type,
    });
  }
  const common = { type, warmupSteps, minLrRatio };
  if (type === "wsd") {
    const decayFraction = resolver.pick(
      "optimizer.schedule.decay_fraction",
      schedule.decay_fraction,
      0.2,
    );
    resolver.require(
      warmupSteps > steps || warmupSteps + Math.round(steps * decayFraction) <= steps,
      {
        key: "optimizer.schedule.decay_fraction",
        expected: `a fraction that leaves room for ${warmupSteps} warm-up steps of ${steps}`,
        got: decayFraction,
      },
    );
    return { ...common, decayFraction };
  }
  if (type !== "bitnet") return common;
  return {
    ...common,
    switchAt: resolver.pick("optimizer.schedule.switch_at", schedule.switch_at, 0.5),
    secondLr: resolver.pick(
      "optimizer.schedule.second_lr",
      schedule.second_lr,
      Number((lr * BITNET_SECOND_LR_RATIO).toPrecision(6)),
      "2/3 of lr, as in the BitNet recipe",
    ),
  };
}

function checkFiles({ data, checkpoint }: RunConfig, resolver: Resolver): void {
  resolver.require(data.validation === null || !data.train.includes(data.validation), {
    key: "data.validation",
    expected: "a file that isn't trained on",
    got: data.validation,
  });
  const { everySteps, keepEvery } = checkpoint;
  resolver.require(keepEvery === 0 || (everySteps > 0 && keepEvery % everySteps === 0), {
    key: "checkpoint.keep_every",
    expected: `0 or a multiple of checkpoint.every_steps (${everySteps})`,
    got: keepEvery,
  });
}

/** The largest divisor of `value` up to `limit`. */
export function largestDivisor(value: number, limit: number): number {
  for (let divisor = Math.min(value, limit); divisor > 1; divisor--) {
    if (value % divisor === 0) return divisor;
  }
  return 1;
}
