/**
 * What a model or a run costs, as plain data: the JSON of `info --json`, and what its text is made of.
 *
 * @module
 */

import { ownParametersOf } from "../checkpoint/parameter_tensors.ts";
import type { BitNetConfig } from "../model/config.ts";
import {
  chinchillaTokens,
  countParameters,
  packedInferenceBytes,
  trainingFlopsPerToken,
} from "../model/flops.ts";
import type { Layers } from "../model/layers.ts";
import { BitNetTransformer } from "../model/transformer.ts";
import { type DeviceSpeed, secondsPerToken } from "./device_speed.ts";
import { type MemoryShape, planMemory } from "./memory_plan.ts";

/** Options of {@linkcode costReport}. */
export interface CostOptions extends Required<Omit<MemoryShape, "layers">> {
  /** Layers in the place of BitNet's own. @default none */
  layers?: Partial<Layers>;
  /** Tokens of the run that is estimated. @default 20 a parameter */
  tokens?: number;
  /** Measured rates of a device, or `null` where none was measured. @default null */
  speed?: DeviceSpeed | null;
}

/** Costs of a model; keys carry their units. */
export type CostReport = ReturnType<typeof costReport>;

/** Collects the costs of training and of running a model. Needs no device. */
export function costReport(config: BitNetConfig, options: CostOptions) {
  const { microBatch, seqLen, dtype, speed = null } = options;
  const counts = countParameters(config);
  const own = countOwnParameters(config, options.layers);
  const total = counts.total + own;
  const memory = planMemory(config, options);
  const packed = packedInferenceBytes(config);
  const flops = trainingFlopsPerToken(config, seqLen);
  const chinchilla = chinchillaTokens(config);
  const tokens = options.tokens ?? chinchilla;
  const perToken = speed === null ? null : secondsPerToken(
    { int8: flops.forward.int8, bf16: flops.forward.bf16 + flops.backward.bf16 },
    speed,
  );
  return {
    model: {
      vocab_size: config.vocabSize,
      hidden_size: config.hiddenSize,
      num_layers: config.numLayers,
      num_heads: config.numHeads,
      num_kv_heads: config.numKvHeads,
      head_dim: config.headDim,
      intermediate_size: config.intermediateSize,
      tie_embeddings: config.tieEmbeddings,
      quantization: config.quantization,
    },
    parameters: {
      embedding: counts.embedding,
      attention: counts.attention,
      mlp: counts.mlp,
      norms: counts.norms,
      head: counts.head,
      own,
      total,
      ternary: counts.ternary,
      ternary_share: counts.ternary / total,
    },
    training_memory: {
      micro_batch: microBatch,
      seq_len: seqLen,
      activation_dtype: dtype,
      recompute: options.recompute,
      gradient_dtype: options.gradientDtype,
      optimizer_state: options.state,
      weights_bytes: memory.weights,
      gradients_bytes: memory.gradients,
      optimizer_bytes: memory.optimizer,
      activations_bytes: memory.activations,
      workspace_bytes: memory.workspace,
      statistics_bytes: memory.statistics,
      samples_bytes: memory.samples,
      total_bytes: memory.total,
    },
    packed_inference: {
      ternary_bytes: packed.ternary,
      dense_bytes: packed.dense,
      norms_bytes: packed.norms,
      total_bytes: packed.total,
    },
    flops_per_token: {
      seq_len: seqLen,
      forward_int8: flops.forward.int8,
      forward_float: flops.forward.bf16,
      backward_float: flops.backward.bf16,
      total: flops.total,
    },
    run: {
      tokens,
      chinchilla_tokens: chinchilla,
      flops: flops.total * tokens,
      /** Products alone at the measured rates: a bound from above on the speed. */
      max_tokens_per_s: perToken === null ? null : 1 / perToken,
      /** Products alone at the measured rates: a bound from below on the time. */
      min_hours: perToken === null ? null : (perToken * tokens) / 3600,
    },
  };
}

/** Parameters that layers add to BitNet's. */
function countOwnParameters(config: BitNetConfig, layers: Partial<Layers> | undefined): number {
  if (layers === undefined) return 0;
  const { parameters } = new BitNetTransformer(config, { training: false, layers });
  return ownParametersOf(config, parameters)
    .reduce((sum, { name }) => sum + parameters.get(name).value.length, 0);
}
