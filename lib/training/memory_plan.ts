/**
 * How much memory training takes, from the model's own plan: the same code that lays the tensors out, run without a device.
 *
 * @module
 */

import type { RunConfig, SamplesConfig } from "../config/run_config.ts";
import type { Recompute } from "../model/activations.ts";
import type { BitNetConfig } from "../model/config.ts";
import type { Layers } from "../model/layers.ts";
import { BitNetTransformer } from "../model/transformer.ts";
import { AdamW } from "../optim/adamw.ts";
import type { ActivationDType } from "../tensor/dtype.ts";
import { sampleBytes } from "./sample_writer.ts";
import { TernaryStatistics } from "./ternary_statistics.ts";

/** What the memory of a training depends on besides the network. */
export interface MemoryShape {
  /** Sequences of a micro-batch. */
  readonly microBatch: number;
  /** Tokens of a sequence. */
  readonly seqLen: number;
  /** Dtype of activations. @default "float32" */
  readonly dtype?: ActivationDType;
  /** @default "none" */
  readonly recompute?: Recompute;
  /** Dtype of the projections' gradients. @default "float32" */
  readonly gradientDtype?: "float32" | "bfloat16";
  /** Moments of AdamW. @default "fp32" */
  readonly state?: "fp32" | "bf16" | "int8";
  /** Whether ternary weights are counted, and their flips. @default null: they are not */
  readonly statistics?: { readonly flipRate: boolean } | null;
  /** Texts that are written on the way. @default null: none */
  readonly samples?: SamplesConfig | null;
  /** Layers in the place of BitNet's own. @default none */
  readonly layers?: Partial<Layers>;
}

/** Bytes by purpose. */
export interface MemoryPlan {
  /** Latent float32 weights, their ternary form and copies in the activation dtype. */
  readonly weights: number;
  readonly gradients: number;
  readonly optimizer: number;
  /** What the forward pass saves for the backward pass. */
  readonly activations: number;
  /** Scratch that layers share. */
  readonly workspace: number;
  /** Counts of the ternary weights, and a copy of these where flips are counted. */
  readonly statistics: number;
  /** KV cache and passes of the texts that the model writes on its way. */
  readonly samples: number;
  readonly total: number;
}

/** Bytes that training takes with a micro-batch of so many sequences. */
export function planMemory(config: BitNetConfig, shape: MemoryShape): MemoryPlan {
  const { microBatch, seqLen, dtype, recompute, gradientDtype, state } = shape;
  const model = new BitNetTransformer(config, {
    training: true,
    ...(dtype !== undefined && { dtype }),
    ...(gradientDtype !== undefined && { gradientDtype }),
    ...(shape.layers !== undefined && { layers: shape.layers }),
  });
  const optimizer = new AdamW(model.parameters, { ...(state !== undefined && { state }) });
  const pass = model.plan({
    sequences: microBatch,
    tokens: seqLen,
    training: true,
    ...(recompute !== undefined && { recompute }),
  });
  const { weights: latent, gradients } = model.parameters.bytes;
  const weights = latent + model.derivedBytes;
  const { activations, workspace } = pass.memory.bytes;
  const statistics = shape.statistics
    ? new TernaryStatistics(model, { pass, ...shape.statistics }).bytes
    : 0;
  const samples = shape.samples ? sampleBytes(model, { samples: shape.samples, seqLen }) : 0;
  const parts = {
    weights,
    gradients,
    optimizer: optimizer.bytes,
    activations,
    workspace,
    statistics,
    samples,
  };
  return { ...parts, total: Object.values(parts).reduce((sum, bytes) => sum + bytes, 0) };
}

/** The shape of a run's memory, with activations in `dtype`; `layers` are those in the place of BitNet's own. */
export function memoryShapeOf(
  config: RunConfig,
  dtype: ActivationDType,
  { layers }: { layers?: Partial<Layers> } = {},
): MemoryShape {
  const { microBatch, seqLen, recompute, gradientDtype } = config.training;
  const { state } = config.optimizer;
  const statistics = countedStatistics(config);
  const samples = writtenSamples(config);
  const parts = { microBatch, seqLen, dtype, recompute, gradientDtype, state, statistics, samples };
  return { ...parts, ...(layers !== undefined && { layers }) };
}

/** What a run counts of its ternary weights; `null` where nothing. */
export function countedStatistics(config: RunConfig): { flipRate: boolean } | null {
  const { ternaryEvery, flipRate } = config.logging;
  return ternaryEvery > 0 ? { flipRate } : null;
}

/** Texts that a run writes on its way; `null` where none. */
export function writtenSamples({ logging }: RunConfig): SamplesConfig | null {
  return logging.samples.everySteps > 0 ? logging.samples : null;
}

/** Dtype of a run's activations on a device that computes in `deviceDtype` by itself. */
export function activationDtypeOf(
  config: RunConfig,
  deviceDtype: ActivationDType,
): ActivationDType {
  const { computeDtype } = config.training;
  return computeDtype === "auto" ? deviceDtype : computeDtype;
}

/** Bytes as a number of GiB. */
export function gib(bytes: number, digits = 2): string {
  return (bytes / 2 ** 30).toFixed(digits);
}

/** A plan as one line: what takes how much. */
export function describePlan(plan: MemoryPlan): string {
  return `${gib(plan.total)} GiB: weights ${gib(plan.weights)} + gradients ${
    gib(plan.gradients)
  } + ` +
    `optimizer ${gib(plan.optimizer)} + activations ${gib(plan.activations)} + ` +
    `workspace ${gib(plan.workspace)}` +
    // A few kilobytes where flips are not counted.
    (plan.statistics < 2 ** 20 ? "" : ` + statistics ${gib(plan.statistics)}`) +
    (plan.samples === 0 ? "" : ` + samples ${gib(plan.samples)}`);
}
