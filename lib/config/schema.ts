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
function size(field: keyof typeof MODEL_LIMITS) {
  const [min, max] = MODEL_LIMITS[field];
  return count(min, max);
}

function above(min: number) {
  const error = `a number above ${min}`;
  return z.number({ error }).gt(min, { error });
}

function positive() {
  return above(0);
}

/** Part of a whole that isn't nothing. */
function share() {
  const error = "a number above 0 and up to 1";
  return z.number({ error }).gt(0, { error }).max(1, { error });
}

function between(min: number, max: number, options: { belowMax?: boolean } = {}) {
  const error = options.belowMax
    ? `a number from ${min} to below ${max}`
    : `a number from ${min} to ${max}`;
  const number = z.number({ error }).min(min, { error });
  return options.belowMax ? number.lt(max, { error }) : number.max(max, { error });
}

function atLeastZero() {
  const error = "a number of at least 0";
  return z.number({ error }).min(0, { error });
}

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
  rope_theta: positive().optional(),
  rms_norm_eps: positive().optional(),
  tie_embeddings: flag().optional(),
  max_seq_len: size("maxSeqLen").optional(),
  quantization: oneOf(["ternary", "none"]).optional(),
  activation_quant: oneOf(["absmax", "absmean"]).optional(),
  init_std: positive().optional(),
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
  min_lr_ratio: between(0, 1).optional(),
  decay_fraction: between(0, 1).optional(),
  switch_at: between(0, 1).optional(),
  second_lr: positive().optional(),
});

const FACTORS = "a mapping from groups of parameters to numbers above 0, such as {embeddings: 0.5}";
const NAMES = "a list of names, none of them empty";

const BETAS = "a list of two numbers from 0 to below 1";

/** `optimizer`: AdamW. */
const optimizer = section({
  name: oneOf(["adamw"]).optional(),
  lr: positive(),
  betas: z.tuple([between(0, 1, { belowMax: true }), between(0, 1, { belowMax: true })], {
    error: BETAS,
  })
    .optional(),
  eps: positive().optional(),
  weight_decay: atLeastZero().optional(),
  max_grad_norm: atLeastZero().optional(),
  state: oneOf(OPTIMIZER_STATES).optional(),
  lr_factors: z.record(
    z.string().regex(/^[a-z][a-z0-9_]*$/, { error: FACTORS }),
    z.number({ error: FACTORS }).gt(0, { error: FACTORS }),
    { error: FACTORS },
  ).optional(),
  frozen: z.array(text(NAMES), { error: NAMES }).optional(),
  schedule,
});

/** `stability`: what happens when numbers go wrong. */
const stability = section({
  on_non_finite: oneOf(NON_FINITE_ANSWERS).optional(),
  on_spike: oneOf(SPIKE_ANSWERS).optional(),
  spike_threshold: above(1).optional(),
  ema_decay: between(0, 1, { belowMax: true }).optional(),
  warmup_steps: steps(0).optional(),
  on_loss_outlier: oneOf(SPIKE_ANSWERS).optional(),
  on_grad_norm_outlier: oneOf(SPIKE_ANSWERS).optional(),
  outlier_threshold: above(0).optional(),
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
  temperature: atLeastZero().optional(),
  seed: seed().optional(),
});

/** `logging`: what is shown and recorded. */
const logging = section({
  every_steps: steps(1).optional(),
  jsonl: path(PATH).nullable().optional(),
  prometheus: address().nullable().optional(),
  tensorboard: path("the path of a folder").nullable().optional(),
  machine_every_s: atLeastZero().optional(),
  console: oneOf(["auto", "bar", "plain"]).optional(),
  peak_tflops: positive().nullable().optional(),
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
