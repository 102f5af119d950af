/**
 * The YAML of a run, key by key: what each may hold. What must hold between keys is in `resolve.ts`.
 *
 * The message of every rule is the phrase that stands after "expected" in an error.
 *
 * @module
 */

import * as z from "zod";
import { MODEL_LIMITS } from "../model/config.ts";
import { PRESET_NAMES } from "../model/presets.ts";
import { SCHEDULE_TYPES } from "../optim/schedule.ts";
import { NON_FINITE_ANSWERS, SPIKE_ANSWERS } from "../stability/options.ts";
import { GRADIENT_DTYPES, OPTIMIZER_STATES, RECOMPUTE } from "./run_config.ts";

/** Steps of a run at most: more than any has, and few enough to be the name of a checkpoint's folder. */
const MOST_STEPS = 1e12;
/** Token files of a run at most. */
const MOST_FILES = 65_536;
/** Sequences of a step at most. */
const MOST_SEQUENCES = 2 ** 24;

/** A whole number from `min` to `max`. Every one has a bound: memory or lists may be made of it. */
function count(min: number, max: number) {
  const error = `a whole number of at least ${min}`;
  return z.int({ error }).min(min, { error })
    .max(max, { error: `a whole number from ${min} to ${max}` });
}

/** Steps, counted from `min`. */
function steps(min: number) {
  return count(min, MOST_STEPS);
}

/** A size of the model. */
function size(field: Exclude<keyof typeof MODEL_LIMITS, ModelReal>) {
  const [min, max] = MODEL_LIMITS[field];
  return count(min, max);
}

type ModelReal = "ropeTheta" | "rmsNormEps" | "initStd";

/** A real number of the model. */
function modelReal(field: ModelReal) {
  const [min, max] = MODEL_LIMITS[field];
  return real(min, max);
}

/**
 * A real number. The device computes in float32, which holds very small ones as 0 and very large ones as infinity: a run
 * would train nothing, or end in an op's error.
 */
function real(min: number, max: number) {
  const error = `a number from ${min} to ${max}`;
  return z.number({ error }).min(min, { error }).max(max, { error });
}

/** A real number, or 0 for none. */
function zeroOr(min: number, max: number) {
  const error = `0 or a number from ${min} to ${max}`;
  return z.number({ error })
    .refine((value) => value === 0 || (value >= min && value <= max), { error });
}

/** A real number above `min`. */
function above(min: number, max: number) {
  const error = `a number above ${min}`;
  return z.number({ error }).gt(min, { error }).max(max, { error: `${error} and up to ${max}` });
}

/** A learning rate: a smaller one is lost in the rounding of a weight. */
const learningRate = () => real(1e-8, 1000);
/** By default two thirds of the first one, which may be the smallest. */
const secondRate = () => real(1e-9, 1000);
/** Share of a running average that stays with a step: one nearer to 1 is 1 in float32, and learns of nothing. */
const decay = () => real(0, 0.999999);
/** Share of the learning rate. */
const share = () => real(1e-6, 1);
/** Times a standard deviation or an average. */
const MOST_DEVIATIONS = 1e6;

function oneOf<const T extends readonly string[]>(values: T) {
  return z.enum(values, { error: `one of ${values.join(", ")}` });
}

function text(what: string) {
  return z.string({ error: what }).min(1, { error: what });
}

/** A path: the system would read no further than a NUL. */
function path(what: string) {
  return text(what).refine((value) => !value.includes("\0"), { error: `${what}, without NUL` });
}

function flag() {
  return z.boolean({ error: "true or false" });
}

function autoOr(min: number, max: number) {
  return z.union([z.literal("auto"), count(min, max)], {
    error: `auto or a whole number from ${min} to ${max}`,
  });
}

function section<Shape extends z.ZodRawShape>(shape: Shape) {
  return z.strictObject(shape, { error: "a section of keys" }).prefault({} as never);
}

const PATH = "the path of a file";
const seed = () => count(0, 2 ** 32 - 1);

/** `model`: a preset's name, a shape, or a preset with fields of its own. */
const model = section({
  size: text(`one of ${PRESET_NAMES.join(", ")}`).optional(),
  vocab_size: size("vocabSize").optional(),
  hidden_size: size("hiddenSize").optional(),
  num_layers: size("numLayers").optional(),
  num_heads: size("numHeads").optional(),
  num_kv_heads: size("numKvHeads").optional(),
  intermediate_size: size("intermediateSize").optional(),
  hidden_act: oneOf(["silu", "relu2"]).optional(),
  rope_theta: modelReal("ropeTheta").optional(),
  rms_norm_eps: modelReal("rmsNormEps").optional(),
  tie_embeddings: flag().optional(),
  max_seq_len: size("maxSeqLen").optional(),
  quantization: oneOf(["ternary", "none"]).optional(),
  activation_quant: oneOf(["absmax", "absmean"]).optional(),
  init_std: modelReal("initStd").optional(),
});

/** `data`: token files and the order they are read in. */
const data = section({
  train: z.union([path(PATH), z.array(path(PATH)).min(1).max(MOST_FILES)], {
    error: `the path of a token file, or a list of up to ${MOST_FILES} paths`,
  }),
  validation: path(PATH).nullable().optional(),
  tokenizer: path(PATH).nullable().optional(),
  seed: seed().optional(),
});

/** `training`: length of the run, batches, device. */
const training = section({
  steps: steps(1).optional(),
  tokens: count(1, Number.MAX_SAFE_INTEGER).optional(),
  seq_len: size("maxSeqLen").optional(),
  batch_sequences: count(1, MOST_SEQUENCES),
  micro_batch: autoOr(1, MOST_SEQUENCES).optional(),
  device: oneOf(["auto", "cuda", "cpu"]).optional(),
  threads: autoOr(1, 1024).optional(),
  seed: seed().optional(),
  eval_every: steps(0).optional(),
  eval_tokens: count(1, Number.MAX_SAFE_INTEGER).optional(),
  compute_dtype: oneOf(["auto", "float32", "bfloat16"]).optional(),
  recompute: oneOf(RECOMPUTE).optional(),
  gradient_dtype: oneOf(GRADIENT_DTYPES).optional(),
});

/** `optimizer.schedule`: the learning rate over the run. */
const schedule = section({
  type: z.enum(SCHEDULE_TYPES, { error: `one of ${SCHEDULE_TYPES.join(", ")}` }).optional(),
  warmup_steps: steps(0).optional(),
  min_lr_ratio: real(0, 1).optional(),
  decay_fraction: real(0, 1).optional(),
  switch_at: real(0, 1).optional(),
  second_lr: secondRate().optional(),
});

const FACTORS =
  "a mapping from groups of parameters to numbers from 1e-6 to 1e6, such as {embeddings: 0.5}";
const NAMES = "a list of names, none of them empty";

const BETAS = "a list of two numbers from 0 to 0.999999";

/** `optimizer`: AdamW. */
const optimizer = section({
  name: oneOf(["adamw"]).optional(),
  lr: learningRate(),
  betas: z.tuple([decay(), decay()], {
    error: BETAS,
  })
    .optional(),
  eps: real(1e-16, 0.1).optional(),
  weight_decay: real(0, 100).optional(),
  max_grad_norm: zeroOr(1e-6, 1e9).optional(),
  state: oneOf(OPTIMIZER_STATES).optional(),
  lr_factors: z.record(
    z.string().regex(/^[a-z][a-z0-9_]*$/, { error: FACTORS }),
    z.number({ error: FACTORS }).min(1e-6, { error: FACTORS }).max(1e6, { error: FACTORS }),
    { error: FACTORS },
  ).optional(),
  frozen: z.array(text(NAMES), { error: NAMES }).optional(),
  schedule,
});

/** `stability`: what happens when numbers go wrong. */
const stability = section({
  on_non_finite: oneOf(NON_FINITE_ANSWERS).optional(),
  on_spike: oneOf(SPIKE_ANSWERS).optional(),
  spike_threshold: above(1, MOST_DEVIATIONS).optional(),
  ema_decay: decay().optional(),
  warmup_steps: steps(0).optional(),
  on_loss_outlier: oneOf(SPIKE_ANSWERS).optional(),
  on_grad_norm_outlier: oneOf(SPIKE_ANSWERS).optional(),
  outlier_threshold: real(0.01, MOST_DEVIATIONS).optional(),
  outlier_window: count(4, 65_536).optional(),
  max_consecutive_skips: steps(1).optional(),
  snapshot_every: steps(0).optional(),
  snapshots: count(2, 1024).optional(),
  stable_after: steps(1).optional(),
  skip_extra_steps: steps(0).optional(),
  lr_factor: share().optional(),
  min_lr_factor: share().optional(),
  lr_ramp_steps: steps(0).optional(),
  max_rollbacks: count(0, 65_536).optional(),
  rollback_window: steps(1).optional(),
});

const RUN = "a folder's name of letters, digits, dots, dashes and underscores";

/** `checkpoint`: what is kept on disk. */
const checkpoint = section({
  directory: path("the path of a folder").optional(),
  run: text(RUN).regex(/^[A-Za-z0-9_][A-Za-z0-9._-]*$/, { error: RUN }).optional(),
  every_steps: steps(0).optional(),
  keep_last: steps(1).optional(),
  keep_every: steps(0).optional(),
  save_final: flag().optional(),
});

/** A port, or a host and a port; `[::1]:9464` for IPv6. */
function address() {
  const error = "a port from 0 to 65535, or HOST:PORT such as 127.0.0.1:9464";
  const form = /^(?:(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):)?(0|[1-9]\d{0,4})$/;
  return z.string({ error }).refine((value) => Number(form.exec(value)?.[1]) <= 65535, { error });
}

const PROMPTS = "a list of texts, none of them empty";

/** `logging.samples`: texts that the model writes on its way. */
const samples = section({
  every_steps: steps(0).optional(),
  prompts: z.array(text(PROMPTS), { error: PROMPTS }).optional(),
  max_tokens: size("maxSeqLen").optional(),
  temperature: real(0, 1000).optional(),
  seed: seed().optional(),
});

/** `logging`: what is shown and recorded. */
const logging = section({
  every_steps: steps(1).optional(),
  jsonl: path(PATH).nullable().optional(),
  prometheus: address().nullable().optional(),
  tensorboard: path("the path of a folder").nullable().optional(),
  machine_every_s: zeroOr(0.01, 1e6).optional(),
  console: oneOf(["auto", "bar", "plain"]).optional(),
  peak_tflops: real(1e-6, 1e9).nullable().optional(),
  ternary_every: steps(0).optional(),
  flip_rate: flag().optional(),
  samples,
});

/** A whole file. */
export const runSchema = z.strictObject(
  { model, data, training, optimizer, stability, checkpoint, logging },
  { error: "the sections model, data, training, optimizer, stability, checkpoint, logging" },
);

/** YAML as the schema has checked it: snake_case keys, optional fields still open. */
export type RawRunConfig = z.output<typeof runSchema>;

/** The sections in the order they are written. */
export const SECTIONS = Object.keys(runSchema.shape) as readonly (keyof RawRunConfig)[];

/** Keys that may stand under a dotted path (`""` for the whole file), or `undefined` where it holds a value. */
export function keysUnder(path: string): readonly string[] | undefined {
  const sections: Record<string, { shape: object }> = {
    "": runSchema,
    model: model.unwrap(),
    data: data.unwrap(),
    training: training.unwrap(),
    optimizer: optimizer.unwrap(),
    "optimizer.schedule": schedule.unwrap(),
    stability: stability.unwrap(),
    checkpoint: checkpoint.unwrap(),
    logging: logging.unwrap(),
    "logging.samples": samples.unwrap(),
  };
  const found = Object.hasOwn(sections, path) ? sections[path] : undefined;
  return found && Object.keys(found.shape);
}
