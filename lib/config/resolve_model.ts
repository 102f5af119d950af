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

/**
 * Builds the model of a run, or returns `undefined` with the reasons noted as conflicts. Fields beside
 * `model.size` override the preset.
 */
export function resolveModel(raw: RawRunConfig, resolver: Resolver): BitNetConfig | undefined {
  const { model } = raw;
  const preset = model.size === undefined ? undefined : findPresetName(model.size);
  if (model.size !== undefined && preset === undefined) {
    resolver.require(false, {
      key: "model.size",
      expected: `one of ${PRESET_NAMES.join(", ")}`,
      got: describeValue(model.size),
      hint: nearest(model.size, PRESET_NAMES),
    });
    return undefined;
  }
  const base: Partial<BitNetConfigOptions> = preset === undefined ? {} : presetOptions(preset);
  const from = preset === undefined ? "default" : `size ${preset}`;
  const hidden = model.hidden_size ?? base.hiddenSize;
  const heads = model.num_heads ?? base.numHeads;
  const layers = model.num_layers ?? base.numLayers;
  if (hidden === undefined || heads === undefined || layers === undefined) {
    for (
      const [key, value] of Object.entries({
        hidden_size: hidden,
        num_layers: layers,
        num_heads: heads,
      })
    ) {
      resolver.require(value !== undefined, {
        key: `model.${key}`,
        expected: "a whole number of at least 1, or model.size with the name of a preset",
        got: "nothing",
      });
    }
    return undefined;
  }
  for (
    const [key, given, value] of [
      ["hidden_size", model.hidden_size, hidden],
      ["num_layers", model.num_layers, layers],
      ["num_heads", model.num_heads, heads],
    ] as const
  ) resolver.pick(`model.${key}`, given, value, from);

  // A preset's MLP width and key/value heads belong to its hidden size and heads: other ones start anew.
  const kvHeads = model.num_kv_heads ??
    (model.num_heads === undefined ? base.numKvHeads : undefined);
  const width = model.intermediate_size ??
    (model.hidden_size === undefined ? base.intermediateSize : undefined);
  const mlp = width ?? Math.ceil((8 * hidden) / 3 / 256) * 256;
  resolver.pick(
    "model.num_kv_heads",
    model.num_kv_heads,
    kvHeads ?? heads,
    kvHeads ? from : "num_heads",
  );
  resolver.pick(
    "model.intermediate_size",
    model.intermediate_size,
    mlp,
    width ? from : "8/3 of hidden_size, rounded up to 256",
  );
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
  resolver.require(heads % (kvHeads ?? heads) === 0, {
    key: "model.num_kv_heads",
    expected: `a divisor of num_heads (${heads})`,
    got: kvHeads,
  });
  if (resolver.conflicts.length > 0) return undefined;
  const options: Required<BitNetConfigOptions> = {
    vocabSize: resolver.pick("model.vocab_size", model.vocab_size, 32000),
    hiddenSize: hidden,
    numLayers: layers,
    numHeads: heads,
    numKvHeads: kvHeads ?? heads,
    intermediateSize: mlp,
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
