/**
 * TitanBit: BitNet b1.58 language models, trained from scratch and run, from TypeScript.
 *
 * The network is explicit: a {@linkcode BitNetTransformer} is blocks of attention and feed-forward layers whose forward
 * and backward passes can be read, and each of which can be replaced (`layers`). Run `make` before the first use.
 *
 * ```ts
 * import { AdamW, BitNetConfig, BitNetTransformer } from "@titanbit/titanbit";
 *
 * const config = new BitNetConfig({ vocabSize: 256, hiddenSize: 64, numLayers: 2, numHeads: 2 });
 * using model = BitNetTransformer.create(config, { device: "cpu" });
 * using optimizer = new AdamW(model.parameters).commit(model.device);
 *
 * const ids = [...new TextEncoder().encode("To be, or not to be, that is the question.")];
 * for (let step = 1; step <= 20; step++) {
 *   model.parameters.zeroGradients();
 *   const { loss } = model.forward(ids, { labels: ids });
 *   model.backward();
 *   optimizer.step({ lr: 1e-2, weightDecay: () => 0 });
 *   model.parametersChanged();
 *   console.log(step, loss);
 * }
 * ```
 *
 * A trained model is loaded, asked and scored:
 *
 * ```ts ignore
 * import { evaluateText, generateText, loadModel } from "@titanbit/titanbit";
 *
 * using loaded = await loadModel("checkpoints/quickstart");
 * for (const piece of generateText(loaded, "My fellow citizens,")) console.log(piece);
 * const { bitsPerByte } = await evaluateText(loaded, "data/sotu/heldout");
 * ```
 *
 * @module
 */

// The network and its layers
export {
  type ActivationQuant,
  BitNetConfig,
  type BitNetConfigOptions,
  type HiddenAct,
  type Quantization,
} from "./lib/model/config.ts";
export {
  MODEL_PRESETS,
  PRESET_NAMES,
  type PresetName,
  presetOptions,
} from "./lib/model/presets.ts";
export {
  BitNetTransformer,
  type CreateOptions,
  type ForwardResult,
} from "./lib/model/transformer.ts";
export { type TokenIds } from "./lib/model/token_batch.ts";
export { defaultLayers, LayerContext, type Layers } from "./lib/model/layers.ts";
export { Attention, type AttentionMemory, type Positions } from "./lib/model/attention.ts";
export { FeedForward, type FeedForwardMemory } from "./lib/model/feed_forward.ts";
export { BitLinear, type TernaryMatrix } from "./lib/model/bit_linear.ts";
export { ComputeWeight } from "./lib/model/compute_weight.ts";
export { Linear } from "./lib/model/linear.ts";
export { RmsNorm } from "./lib/model/rms_norm.ts";
export { Block, type BlockMemory } from "./lib/model/block.ts";
export { Head, type LossGradient, type LossMemory } from "./lib/model/head.ts";
export {
  type CheckedPass,
  type CheckedTensor,
  checkGradients,
  type CheckOptions,
  type GradientCheck,
  type GradientError,
} from "./lib/model/check_gradients.ts";
export { checkLayerGradients, type LayerCheckOptions } from "./lib/model/check_layer_gradients.ts";
export { type LogitLoss, type LogitRows } from "./lib/model/logit_loss.ts";
export { type Log, MetricLog, type MetricValue } from "./lib/model/metric_log.ts";
export {
  type BackwardOptions,
  declareWeight,
  type Projection,
  type ProjectionFactory,
  type ProjectionSpec,
} from "./lib/model/projection.ts";
export { PassMemory, type PassShape, type ProjectionInput } from "./lib/model/activations.ts";
export { Pass, type PassOptions } from "./lib/model/pass.ts";
export { type CachedLayer, KvCache } from "./lib/model/kv_cache.ts";
export {
  type InitialValues,
  type Parameter,
  type ParameterDeclaration,
  type ParameterGroup,
  ParameterStore,
  StackedParameter,
} from "./lib/model/parameters.ts";
export { type StateDict, type StateDictEntry } from "./lib/model/state_dict.ts";
export {
  chinchillaTokens,
  countParameters,
  decodeFlopsPerToken,
  packedInferenceBytes,
  trainingFlopsPerToken,
} from "./lib/model/flops.ts";

// Ops that layers are made of
export { cast } from "./lib/kernels/cast.ts";
export { gemm, type GemmOperands } from "./lib/kernels/gemm.ts";
export {
  gemmTernaryBackwardInput,
  type GemmTernaryBackwardInputOperands,
  gemmTernaryBackwardWeight,
  type GemmTernaryBackwardWeightOperands,
  gemmTernaryForward,
  type GemmTernaryForwardOperands,
} from "./lib/kernels/gemm_ternary.ts";
export { quantizeWeight, type QuantizeWeightOperands } from "./lib/kernels/quantize_weight.ts";
export { type GateName, type NormOutputs, type QuantizerName } from "./lib/kernels/quantizer.ts";
export {
  rmsnormBackward,
  type RmsnormBackwardOperands,
  rmsnormForward,
  type RmsnormForwardOperands,
} from "./lib/kernels/rmsnorm.ts";
export {
  gluNormBackward,
  type GluNormBackwardOperands,
  gluNormForward,
  type GluNormForwardOperands,
} from "./lib/kernels/glu_norm.ts";
export { ropeTable } from "./lib/model/rope.ts";
export {
  ropeBackward,
  type RopeBackwardOperands,
  ropeForward,
  type RopeForwardOperands,
} from "./lib/kernels/rope.ts";
export {
  attentionBackward,
  type AttentionBackwardOperands,
  attentionDecode,
  type AttentionDecodeOperands,
  attentionForward,
  type AttentionForwardOperands,
  ropeAttentionDecode,
  type RopeAttentionDecodeOperands,
} from "./lib/kernels/attention.ts";
export { crossEntropy, type CrossEntropyOperands } from "./lib/kernels/cross_entropy.ts";
export { norm, type ReductionOperands, sum } from "./lib/kernels/reduce.ts";

// Devices and memory
export { Device, type DeviceOptions } from "./lib/ffi/device.ts";
export { type DeviceKind } from "./lib/ffi/library.ts";
export { NativeError } from "./lib/ffi/errors.ts";
export { Tensor } from "./lib/tensor/tensor.ts";
export { Arena } from "./lib/tensor/arena.ts";
export { type ActivationDType, type DType } from "./lib/tensor/dtype.ts";

// Optimisation
export { AdamW, type AdamWOptions, type AdamWState, type AdamWStep } from "./lib/optim/adamw.ts";
export {
  createSchedule,
  type Schedule,
  type ScheduleOptions,
  type ScheduleType,
} from "./lib/optim/schedule.ts";

// Whole runs
export { type LoadedRunConfig, loadRunConfig } from "./lib/config/load.ts";
export { ConfigError } from "./lib/config/errors.ts";
export { type RunConfig } from "./lib/config/run_config.ts";
export { type RunOptions, runTraining, TrainingError } from "./lib/training/run.ts";
export {
  LoopRecorder,
  type LoopRecorderOptions,
  type LoopStep,
} from "./lib/training/loop_recorder.ts";
export type { MetricsRecord } from "./lib/metrics/records.ts";
export type { RunObserver, TrainingObserver } from "./lib/training/observer.ts";
export type { RunResult } from "./lib/training/trainer.ts";
export { planMemory } from "./lib/training/memory_plan.ts";

// Text and tokens
export { loadTokenizer, type Tokenizer, tokenizerFromJson } from "./lib/tokenizer/tokenizer.ts";
export { TokenizerError } from "./lib/tokenizer/errors.ts";
export { BatchLoader, type BatchLoaderOptions } from "./lib/data/loader.ts";
export { TokenDataset } from "./lib/data/shards.ts";
export { DataError } from "./lib/data/errors.ts";

// Checkpoints
export { Checkpoint, openCheckpoint, verifyCheckpoint } from "./lib/checkpoint/open.ts";
export { findLatest, listCheckpoints } from "./lib/checkpoint/find.ts";
export {
  type ExportDType,
  type ExportedModel,
  exportModel,
} from "./lib/checkpoint/export_model.ts";
export { loadWeights, saveModel, type SaveModelOptions } from "./lib/checkpoint/model_weights.ts";
export { CheckpointError } from "./lib/checkpoint/errors.ts";

// Trained models
export {
  type HeadWeights,
  type LoadedModel,
  loadModel,
  type LoadModelOptions,
} from "./lib/inference/load_model.ts";
export {
  generateText,
  generateTexts,
  type GenerationOptions,
  type TextOptions,
  TokenGenerator,
} from "./lib/inference/generate.ts";
export { BatchGenerator } from "./lib/inference/batch_generator.ts";
export { Sampler, type SamplingOptions } from "./lib/inference/sampler.ts";
export { type Evaluation } from "./lib/evaluation/language_model.ts";
export { evaluateText } from "./lib/evaluation/text.ts";
