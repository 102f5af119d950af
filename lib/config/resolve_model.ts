/**
 * The model section: a preset, a shape, or both, into a `BitNetConfig`.
 *
 * @module
 */

import { BitNetConfig, type BitNetConfigOptions } from "../model/config.ts";
import { findPresetName, PRESET_NAMES, presetOptions } from "../model/presets.ts";
import { nearest } from "../cli/nearest.ts";
import { describeValue } from "./errors.ts";
import type { Resolver } from "./resolver.ts";
import type { RawRunConfig } from "./schema.ts";

/** Fields that the model's own start from, and the words for where a value of theirs comes from. */
interface Base {
  readonly options: Partial<BitNetConfigOptions>;
  readonly from: string;
}

/** What has no default: a config or its preset says it. */
interface Core {
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
}

type RawModel = RawRunConfig["model"];

/**
 * Builds the model of a run, or returns `undefined` with the reasons noted as conflicts. Fields beside
 * `model.size` override the preset.
 */
export function resolveModel(raw: RawRunConfig, resolver: Resolver): BitNetConfig | undefined {
  const { model } = raw;
  const base = resolveBase(model, resolver);
  const core = base && resolveCore(model, base, resolver);
  if (base === undefined || core === undefined) return undefined;
  const { numKvHeads, intermediateSize } = resolveWidths(model, { base, core, resolver });
  requireHeads({ ...core, kvHeads: numKvHeads }, resolver);
  if (resolver.conflicts.length > 0) return undefined;
  const options: Required<BitNetConfigOptions> = {
    vocabSize: resolver.pick("model.vocab_size", model.vocab_size, 32000),
    hiddenSize: core.hidden,
    numLayers: core.layers,
    numHeads: core.heads,
    numKvHeads,
    intermediateSize,
    hiddenAct: resolver.pick("model.hidden_act", model.hidden_act, "silu"),
    ropeTheta: resolver.pick("model.rope_theta", model.rope_theta, 10000),
    rmsNormEps: resolver.pick("model.rms_norm_eps", model.rms_norm_eps, 1e-5),
    tieEmbeddings: resolver.pick("model.tie_embeddings", model.tie_embeddings, true),
    maxSeqLen: resolver.pick("model.max_seq_len", model.max_seq_len, 2048),
    quantization: resolver.pick("model.quantization", model.quantization, "ternary"),
    activationQuant: resolver.pick("model.activation_quant", model.activation_quant, "absmax"),
    initStd: resolver.pick("model.init_std", model.init_std, 0.02),
  };
  try {
    return new BitNetConfig(options);
  } catch (error) { // a rule of the model that is not repeated here
    if (!(error instanceof RangeError)) throw error;
    resolver.require(false, {
      key: "model",
      expected: "a model that can be built",
      got: error.message,
    });
    return undefined;
  }
}

/** The preset that `model.size` names, or nothing; `undefined` for a name that none has. */
function resolveBase({ size }: RawModel, resolver: Resolver): Base | undefined {
  if (size === undefined) return { options: {}, from: "default" };
  const preset = findPresetName(size);
  if (preset !== undefined) return { options: presetOptions(preset), from: `size ${preset}` };
  resolver.require(false, {
    key: "model.size",
    expected: `one of ${PRESET_NAMES.join(", ")}`,
    got: describeValue(size),
    hint: nearest(size, PRESET_NAMES),
  });
  return undefined;
}

function resolveCore(
  model: RawModel,
  { options, from }: Base,
  resolver: Resolver,
): Core | undefined {
  const hidden = model.hidden_size ?? options.hiddenSize;
  const heads = model.num_heads ?? options.numHeads;
  const layers = model.num_layers ?? options.numLayers;
  const found = { hidden_size: hidden, num_layers: layers, num_heads: heads };
  if (hidden === undefined || heads === undefined || layers === undefined) {
    for (const [key, value] of Object.entries(found)) {
      resolver.require(value !== undefined, {
        key: `model.${key}`,
        expected: "a whole number of at least 1, or model.size with the name of a preset",
        got: "nothing",
      });
    }
    return undefined;
  }
  for (const key of ["hidden_size", "num_layers", "num_heads"] as const) {
    resolver.pick(`model.${key}`, model[key], found[key], from);
  }
  return { hidden, layers, heads };
}

/** A preset's MLP width and key/value heads belong to its hidden size and heads: other ones start anew. */
function resolveWidths(
  model: RawModel,
  { base: { options, from }, core, resolver }: { base: Base; core: Core; resolver: Resolver },
): { numKvHeads: number; intermediateSize: number } {
  const kvHeads = model.num_heads === undefined ? options.numKvHeads : undefined;
  const width = model.hidden_size === undefined ? options.intermediateSize : undefined;
  return {
    numKvHeads: resolver.pick(
      "model.num_kv_heads",
      model.num_kv_heads,
      kvHeads ?? core.heads,
      kvHeads === undefined ? "num_heads" : from,
    ),
    intermediateSize: resolver.pick(
      "model.intermediate_size",
      model.intermediate_size,
      width ?? Math.ceil((8 * core.hidden) / 3 / 256) * 256,
      width === undefined ? "8/3 of hidden_size, rounded up to 256" : from,
    ),
  };
}

function requireHeads(
  { hidden, heads, kvHeads }: { hidden: number; heads: number; kvHeads: number },
  resolver: Resolver,
): void {
  resolver.require(hidden % heads === 0, {
    key: "model.num_heads",
    expected: `a divisor of hidden_size (${hidden})`,
    got: heads,
  });
  const headDim = hidden / heads;
  resolver.require(hidden % heads !== 0 || (headDim % 2 === 0 && headDim <= 256), {
    key: "model.num_heads",
    expected: "a number of heads whose dimension, hidden_size / num_heads, is even and at most 256",
    got: `${heads} (dimension ${headDim})`,
  });
  resolver.require(heads % kvHeads === 0, {
    key: "model.num_kv_heads",
    expected: `a divisor of num_heads (${heads})`,
    got: kvHeads,
  });
}
