/**
 * Hugging Face's view of the model: the config.json and the parameter names of transformers'
 * `BitNetForCausalLM` (model_type "bitnet"), so that checkpoints load there and back.
 *
 * Source: transformers, models/bitnet/{configuration,modeling}_bitnet.py and integrations/bitnet.py.
 *
 * @module
 */

import * as z from "zod";
import { BitNetConfig, type BitNetConfigOptions, MODEL_LIMITS } from "../model/config.ts";
import {
  type JsonFile,
  oneOf,
  parseJson,
  readFileUpTo,
  realNumber,
  wholeNumber,
  wrongKey,
} from "../std/json.ts";
import { InteropError } from "./errors.ts";

/** Ids that a tokenizer gives a meaning of its own; null where it has none. */
export interface SpecialTokens {
  readonly bosTokenId: number | null;
  /** One id, or several that all end a text. */
  readonly eosTokenId: number | readonly number[] | null;
  readonly padTokenId: number | null;
  /** What prompts begin with, as the documents it was trained on did; left out where nothing says so: then the tokenizer does. */
  readonly startIds?: readonly number[];
}

/** A model without special tokens. */
export const NO_SPECIAL_TOKENS: SpecialTokens = {
  bosTokenId: null,
  eosTokenId: null,
  padTokenId: null,
};

/** A parameter's name in a checkpoint and its shape, `[out, in]` for a projection. */
export interface ParameterShape {
  readonly name: string;
  readonly shape: readonly number[];
}

/** A parameter that layers of a program's own added to BitNet's. */
export interface OwnParameter extends ParameterShape {
  /** What the optimizer treats it with, such as `norms`, or a name of the program's own. */
  readonly group: string;
}

/** What a config.json says about a model. */
export interface HuggingFaceModel {
  readonly config: BitNetConfig;
  readonly specialTokens: SpecialTokens;
  /** Kinds of layers that were a program's own when it was trained, such as `projection`; of most models none. */
  readonly ownLayers: readonly string[];
  /** Parameters that those layers added; of most models none. */
  readonly ownParameters: readonly OwnParameter[];
}

/** Keys that transformers doesn't know, and passes over. */
const START_IDS = "titanbit_start_token_ids";
const OWN_LAYERS = "titanbit_own_layers";
const OWN_PARAMETERS = "titanbit_own_parameters";

/** Lists every parameter in the order the forward pass meets them. A tied head is the embedding. */
export function parameterShapes(config: BitNetConfig): ParameterShape[] {
  const { hiddenSize: D, intermediateSize: F, vocabSize: V, headDim: E } = config;
  const kv = config.numKvHeads * E;
  const shapes: ParameterShape[] = [{ name: "model.embed_tokens.weight", shape: [V, D] }];
  for (let layer = 0; layer < config.numLayers; layer++) {
    const add = (name: string, shape: readonly number[]) =>
      shapes.push({ name: `model.layers.${layer}.${name}.weight`, shape });
    add("input_layernorm", [D]);
    add("self_attn.q_proj", [D, D]);
    add("self_attn.k_proj", [kv, D]);
    add("self_attn.v_proj", [kv, D]);
    add("self_attn.attn_sub_norm", [D]);
    add("self_attn.o_proj", [D, D]);
    add("post_attention_layernorm", [D]);
    add("mlp.gate_proj", [F, D]);
    add("mlp.up_proj", [F, D]);
    add("mlp.ffn_sub_norm", [F]);
    add("mlp.down_proj", [D, F]);
  }
  shapes.push({ name: "model.norm.weight", shape: [D] });
  if (!config.tieEmbeddings) shapes.push({ name: "lm_head.weight", shape: [V, D] });
  return shapes;
}

/**
 * The text of config.json for latent weights. A ternary model asks transformers to quantise
 * on the fly, as training does. `activation_quant` is ours: transformers only knows absmax. `dtype`: of the weights, @default
 * "float32"
 */
export function formatHuggingFaceConfig(
  config: BitNetConfig,
  specialTokens: SpecialTokens = NO_SPECIAL_TOKENS,
  { dtype = "float32", ownLayers = [], ownParameters = [] }: {
    dtype?: "float32" | "bfloat16";
    ownLayers?: readonly string[];
    ownParameters?: readonly OwnParameter[];
  } = {},
): string {
  const ternary = config.quantization === "ternary";
  const fields = {
    architectures: ["BitNetForCausalLM"],
    model_type: "bitnet",
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.numLayers,
    num_attention_heads: config.numHeads,
    num_key_value_heads: config.numKvHeads,
    head_dim: config.headDim,
    hidden_act: config.hiddenAct,
    max_position_embeddings: config.maxSeqLen,
    initializer_range: config.initStd,
    rms_norm_eps: config.rmsNormEps,
    tie_word_embeddings: config.tieEmbeddings,
    // transformers 4 reads the first, 5 the second.
    rope_theta: config.ropeTheta,
    rope_parameters: { rope_type: "default", rope_theta: config.ropeTheta },
    attention_bias: false,
    attention_dropout: 0,
    use_cache: true,
    // Written even when null: the class would fill in ids of a 128k vocabulary.
    bos_token_id: specialTokens.bosTokenId,
    eos_token_id: specialTokens.eosTokenId,
    pad_token_id: specialTokens.padTokenId,
    torch_dtype: dtype,
    ...(specialTokens.startIds !== undefined && { [START_IDS]: specialTokens.startIds }),
    ...(ownLayers.length > 0 && { [OWN_LAYERS]: ownLayers }),
    ...(ownParameters.length > 0 && {
      [OWN_PARAMETERS]: ownParameters.map(({ name, shape, group }) => ({ name, shape, group })),
    }),
    ...(ternary && {
      activation_quant: config.activationQuant,
      quantization_config: {
        quant_method: "bitnet",
        linear_class: "autobitlinear",
        quantization_mode: "online",
      },
    }),
  };
  return JSON.stringify(fields, null, 2) + "\n";
}

/** Bytes of a config.json at most. */
const MAX_CONFIG_BYTES = 16 * 2 ** 20;
/** Ids in a list of a config.json at most. */
const MAX_IDS = 1024;

function count(field: Exclude<keyof typeof MODEL_LIMITS, "ropeTheta" | "rmsNormEps" | "initStd">) {
  const [min, max] = MODEL_LIMITS[field];
  return wholeNumber({ min, max });
}

function real(field: "ropeTheta" | "rmsNormEps" | "initStd") {
  const [min, max] = MODEL_LIMITS[field];
  return realNumber({ min, max }).nullish();
}

const tokenId = () => wholeNumber({ max: 2 ** 31 - 1 });
const tokenIds = () => z.array(tokenId()).max(MAX_IDS);
const id = (error: string) => z.union([tokenId(), z.null()], { error }).optional();
const flag = () => z.boolean({ error: "true or false" }).nullish();
const fixed = <const T extends string | number | boolean>(value: T) =>
  z.literal(value, { error: `${JSON.stringify(value)} or left out` }).optional();
const text = () => z.string({ error: "a text" });
const NAMES = "a list of names";
const OBJECT = { error: "an object" };

const ropeSchema = z.object({
  rope_type: fixed("default"),
  partial_rotary_factor: fixed(1),
  rope_theta: real("ropeTheta"),
}, OBJECT);

const quantizationSchema = z.object({
  quant_method: oneOf("bitnet"),
  linear_class: oneOf("autobitlinear"),
  quantization_mode: oneOf("online"), // others hold packed weights, not latent ones
  use_rms_norm: fixed(false),
  modules_to_not_convert: z.array(oneOf("lm_head"), { error: 'null or ["lm_head"]' }).nullish(),
}, OBJECT);

const parameterSchema = z.object({
  name: text(),
  shape: z.array(wholeNumber({ min: 1 }), { error: "a list of sizes" }).min(1, {
    error: "a list of one size or more",
  }),
  group: text(),
}, { error: "a parameter with name, shape and group" });

/** The keys that are read; others are passed over. What a message says "must be" stands beside each. */
const configSchema = z.object({
  model_type: oneOf("bitnet"),
  attention_bias: fixed(false),
  rope_scaling: z.null({ error: "null or left out" }).optional(),
  rope_parameters: ropeSchema.nullish(),
  quantization_config: quantizationSchema.nullish(),
  vocab_size: count("vocabSize"),
  hidden_size: count("hiddenSize"),
  intermediate_size: count("intermediateSize"),
  num_hidden_layers: count("numLayers"),
  num_attention_heads: count("numHeads"),
  num_key_value_heads: count("numKvHeads").nullish(),
  head_dim: z.number({ error: "a number" }).nullish(),
  max_position_embeddings: count("maxSeqLen").nullish(),
  hidden_act: oneOf("relu2", "silu").nullish(),
  activation_quant: oneOf("absmax", "absmean").nullish(),
  rope_theta: real("ropeTheta"),
  rms_norm_eps: real("rmsNormEps"),
  initializer_range: real("initStd"),
  tie_word_embeddings: flag(),
  bos_token_id: id("a token id or null"),
  eos_token_id: z.union([tokenId(), tokenIds(), z.null()], {
    error: "a token id, a list of them or null",
  }).optional(),
  pad_token_id: id("a token id or null"),
  [START_IDS]: z.union([tokenIds(), z.null()], { error: "token ids" }).optional(),
  [OWN_LAYERS]: z.array(z.string({ error: NAMES }), { error: NAMES }).nullish(),
  [OWN_PARAMETERS]: z.array(parameterSchema, { error: "a list of parameters" }).nullish(),
}, { error: "a JSON object" });

type ConfigJson = z.output<typeof configSchema>;

/**
 * Reads a config.json. A key left out takes the default of transformers' `BitNetConfig`, except the
 * sizes, which must be there.
 *
 * @throws {InteropError} naming the file, the key, what was expected and found: on another
 * architecture, on a wrong type, on a number that no model has, and on every feature that this model lacks.
 */
export function readHuggingFaceConfig(path: string): HuggingFaceModel {
  return parseHuggingFaceConfig(readFileUpTo(configFile(path)), path);
}

/** As {@linkcode readHuggingFaceConfig}, from a text that is already in memory; `path` names it in messages. */
export function parseHuggingFaceConfig(data: string | Uint8Array, path: string): HuggingFaceModel {
  const file = configFile(path);
  const json = parseJson(data, configSchema, file);
  const headDim = json.hidden_size / json.num_attention_heads;
  if ((json.head_dim ?? headDim) !== headDim) {
    const rule = `${headDim}, null or left out`;
    throw wrongKey(file, { key: "head_dim", rule, found: json.head_dim });
  }
  requireIdsBelow(json, file);
  let config: BitNetConfig;
  try {
    config = new BitNetConfig(modelOptions(json));
  } catch (error) {
    throw new InteropError(`Cannot read ${path}: ${(error as Error).message}`, { cause: error });
  }
  const startIds = json[START_IDS] ?? null;
  return {
    config,
    specialTokens: {
      bosTokenId: json.bos_token_id ?? null,
      eosTokenId: json.eos_token_id ?? null,
      padTokenId: json.pad_token_id ?? null,
      ...(startIds !== null && { startIds }),
    },
    ownLayers: json[OWN_LAYERS] ?? [],
    ownParameters: json[OWN_PARAMETERS] ?? [],
  };
}

function modelOptions(json: ConfigJson): BitNetConfigOptions {
  return {
    hiddenSize: json.hidden_size,
    numHeads: json.num_attention_heads,
    vocabSize: json.vocab_size,
    numLayers: json.num_hidden_layers,
    numKvHeads: json.num_key_value_heads ?? json.num_attention_heads,
    intermediateSize: json.intermediate_size,
    hiddenAct: json.hidden_act ?? "relu2",
    ropeTheta: json.rope_parameters?.rope_theta ?? json.rope_theta ?? 500_000,
    rmsNormEps: json.rms_norm_eps ?? 1e-5,
    tieEmbeddings: json.tie_word_embeddings ?? false,
    maxSeqLen: json.max_position_embeddings ?? 2048,
    initStd: json.initializer_range ?? 0.02,
    quantization: json.quantization_config == null ? "none" : "ternary",
    activationQuant: json.activation_quant ?? "absmax",
  };
}

/** Throws where a key has an id that the vocabulary lacks. */
function requireIdsBelow(json: ConfigJson, file: JsonFile): void {
  for (const key of ["bos_token_id", "eos_token_id", "pad_token_id", START_IDS] as const) {
    const found = json[key] ?? null;
    if (found === null || [found].flat().every((id) => id < json.vocab_size)) continue;
    throw wrongKey(file, {
      key,
      rule: `below vocab_size, ${json.vocab_size}`,
      found,
      remedy: "give the id that tokenizer.json has for it, or null",
    });
  }
}

function configFile(path: string): JsonFile {
  return {
    path,
    maxBytes: MAX_CONFIG_BYTES,
    fail: (message, { cause }) => new InteropError(message, { cause }),
  };
}
