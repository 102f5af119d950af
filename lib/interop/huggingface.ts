/**
 * Hugging Face's view of the model: the config.json and the parameter names of transformers'
 * `BitNetForCausalLM` (model_type "bitnet"), so that checkpoints load there and back.
 *
 * Source: transformers, models/bitnet/{configuration,modeling}_bitnet.py and integrations/bitnet.py.
 *
 * @module
 */

import { BitNetConfig, type BitNetConfigOptions } from "../model/config.ts";
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

/**
 * Reads a config.json. A key left out takes the default of transformers' `BitNetConfig`, except the
 * sizes, which must be there.
 *
 * @param path For messages.
 * @throws {InteropError} naming the file, the key, what was expected and found: on another
 * architecture, on a wrong type, and on every feature that this model lacks.
 */
export function parseHuggingFaceConfig(text: string, path: string): HuggingFaceModel {
  const keys = new ConfigKeys(parseObject(text, path), path);
  keys.expect("model_type", ["bitnet"]);
  keys.expect("attention_bias", [false, undefined]);
  keys.expect("rope_scaling", [null, undefined]);
  const rope = keys.object("rope_parameters");
  rope?.expect("rope_type", ["default", undefined]);
  rope?.expect("partial_rotary_factor", [1, undefined]);
  const numHeads = keys.count("num_attention_heads");
  const hiddenSize = keys.count("hidden_size");
  keys.expect("head_dim", [hiddenSize / numHeads, null, undefined]);
  const options: BitNetConfigOptions = {
    hiddenSize,
    numHeads,
    vocabSize: keys.count("vocab_size"),
    numLayers: keys.count("num_hidden_layers"),
    numKvHeads: keys.count("num_key_value_heads", numHeads),
    intermediateSize: keys.count("intermediate_size"),
    hiddenAct: keys.choice("hidden_act", ["relu2", "silu"], "relu2"),
    ropeTheta: rope?.number("rope_theta") ?? keys.number("rope_theta") ?? 500_000,
    rmsNormEps: keys.number("rms_norm_eps") ?? 1e-5,
    tieEmbeddings: keys.boolean("tie_word_embeddings", false),
    maxSeqLen: keys.count("max_position_embeddings", 2048),
    initStd: keys.number("initializer_range") ?? 0.02,
    quantization: readQuantization(keys),
    activationQuant: keys.choice("activation_quant", ["absmax", "absmean"], "absmax"),
  };
  let config: BitNetConfig;
  try {
    config = new BitNetConfig(options);
  } catch (error) {
    throw new InteropError(`Cannot read ${path}: ${(error as Error).message}`, { cause: error });
  }
  const startIds = keys.value(START_IDS) === undefined ? null : keys.tokenIds(START_IDS);
  if (typeof startIds === "number") throw keys.wrong(START_IDS, "token ids");
  const specialTokens = {
    bosTokenId: keys.tokenId("bos_token_id"),
    eosTokenId: keys.tokenIds("eos_token_id"),
    padTokenId: keys.tokenId("pad_token_id"),
    ...(startIds !== null && { startIds }),
  };
  keys.requireIdsBelow("vocab_size", ["bos_token_id", "eos_token_id", "pad_token_id", START_IDS]);
  return {
    config,
    specialTokens,
    ownLayers: keys.names(OWN_LAYERS),
    ownParameters: readOwnParameters(keys),
  };
}

function readOwnParameters(keys: ConfigKeys): OwnParameter[] {
  const value = keys.value(OWN_PARAMETERS) ?? [];
  const isSize = (size: unknown) => Number.isSafeInteger(size) && (size as number) > 0;
  const isParameter = (entry: unknown) => {
    const { name, shape, group } = (entry ?? {}) as Record<string, unknown>;
    return typeof name === "string" && typeof group === "string" &&
      Array.isArray(shape) && shape.length > 0 && shape.every(isSize);
  };
  if (!Array.isArray(value) || !value.every(isParameter)) {
    throw keys.wrong(OWN_PARAMETERS, "a list of parameters, each with name, shape and group");
  }
  return value;
}

function readQuantization(keys: ConfigKeys): "ternary" | "none" {
  const quantization = keys.object("quantization_config");
  if (quantization === null) return "none";
  quantization.expect("quant_method", ["bitnet"]);
  quantization.expect("linear_class", ["autobitlinear"]);
  quantization.expect("quantization_mode", ["online"]); // others hold packed weights, not latent ones
  quantization.expect("use_rms_norm", [false, undefined]);
  const skipped = quantization.value("modules_to_not_convert") ?? [];
  if (!Array.isArray(skipped) || skipped.some((name) => name !== "lm_head")) {
    throw quantization.wrong("modules_to_not_convert", `null or ["lm_head"]`);
  }
  return "ternary";
}

function parseObject(text: string, path: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new InteropError(
      `Cannot read ${path} as it must be JSON: current value is ${(error as Error).message}`,
    );
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new InteropError(
      `Cannot read ${path} as it must hold a JSON object: current value is ${typeOf(value)}`,
    );
  }
  return value as Record<string, unknown>;
}

/** Typed reading of a JSON object's keys, each failure naming the file and the key. */
class ConfigKeys {
  readonly #values: Record<string, unknown>;
  readonly #path: string;
  readonly #prefix: string;

  constructor(values: Record<string, unknown>, path: string, prefix = "") {
    this.#values = values;
    this.#path = path;
    this.#prefix = prefix;
  }

  value(key: string): unknown {
    return Object.hasOwn(this.#values, key) ? this.#values[key] : undefined;
  }

  wrong(key: string, expected: string): InteropError {
    return new InteropError(
      `Cannot read ${this.#path} as ${this.#prefix}${key} must be ${expected}: ` +
        `current value is ${JSON.stringify(this.value(key)) ?? "missing"}`,
    );
  }

  expect(key: string, allowed: readonly unknown[]): void {
    if (!allowed.includes(this.value(key))) {
      const shown = allowed.map((value) => JSON.stringify(value) ?? "left out").join(" or ");
      throw this.wrong(key, shown);
    }
  }

  object(key: string): ConfigKeys | null {
    const value = this.value(key) ?? null;
    if (value === null) return null;
    if (typeof value !== "object" || Array.isArray(value)) throw this.wrong(key, "an object");
    return new ConfigKeys(value as Record<string, unknown>, this.#path, `${this.#prefix}${key}.`);
  }

  count(key: string, fallback?: number): number {
    const value = this.value(key) ?? fallback;
    if (!Number.isSafeInteger(value) || (value as number) < 1) {
      throw this.wrong(key, "a whole number above 0");
    }
    return value as number;
  }

  number(key: string): number | undefined {
    const value = this.value(key) ?? undefined;
    if (value !== undefined && typeof value !== "number") throw this.wrong(key, "a number");
    return value;
  }

  boolean(key: string, fallback: boolean): boolean {
    const value = this.value(key) ?? fallback;
    if (typeof value !== "boolean") throw this.wrong(key, "true or false");
    return value;
  }

  choice<T extends string>(key: string, choices: readonly T[], fallback: T): T {
    const value = this.value(key) ?? fallback;
    if (!choices.includes(value as T)) {
      throw this.wrong(key, choices.map((choice) => `"${choice}"`).join(" or "));
    }
    return value as T;
  }

  names(key: string): readonly string[] {
    const value = this.value(key) ?? [];
    if (!Array.isArray(value) || !value.every((name) => typeof name === "string")) {
      throw this.wrong(key, "a list of names");
    }
    return value;
  }

  tokenId(key: string): number | null {
    const value = this.value(key) ?? null;
    if (value !== null && !isTokenId(value)) throw this.wrong(key, "a token id or null");
    return value;
  }

  /** Throws where one of these keys has an id that the vocabulary lacks. */
  requireIdsBelow(sizeKey: string, keys: readonly string[]): void {
    const size = this.value(sizeKey) as number;
    const below = (value: unknown) => value == null || (value as number) < size;
    const bad = keys.find((key) => ![this.value(key)].flat().every(below));
    if (bad === undefined) return;
    throw new InteropError(
      `${
        this.wrong(bad, `below ${sizeKey}, ${size}`).message
      }; give the id that tokenizer.json has for it, or null`,
    );
  }

  tokenIds(key: string): number | readonly number[] | null {
    const value = this.value(key);
    if (!Array.isArray(value)) return this.tokenId(key);
    if (!value.every(isTokenId)) throw this.wrong(key, "token ids");
    return value;
  }
}

function isTokenId(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function typeOf(value: unknown): string {
  return value === null ? "null" : Array.isArray(value) ? "an array" : `a ${typeof value}`;
}
