/**
 * The shape of a BitNet b1.58 model: what the network is, apart from how it is trained.
 *
 * @module
 */

import { describeValue } from "../std/describe.ts";

/** Legal values of the fields that name one of a few. */
const CHOICES = {
  hiddenAct: ["silu", "relu2"],
  quantization: ["ternary", "none"],
  activationQuant: ["absmax", "absmean"],
} as const;

/** Non-linearity of the gated feed-forward layer: `silu` is SwiGLU, `relu2` is max(x, 0)². */
export type HiddenAct = typeof CHOICES.hiddenAct[number];

/** `ternary` trains BitLinear projections; `none` trains the same network unquantised. */
export type Quantization = typeof CHOICES.quantization[number];

/** Per-token activation quantiser: b1.58's absmax int8, or a4.8's absmean int4. */
export type ActivationQuant = typeof CHOICES.activationQuant[number];

/** Options of {@linkcode BitNetConfig}; every field left out takes its default. */
export interface BitNetConfigOptions {
  /** Number of token ids. @default 32000 */
  vocabSize?: number;
  /** Width of the residual stream. */
  hiddenSize: number;
  /** Number of transformer blocks. */
  numLayers: number;
  /** Number of query heads. */
  numHeads: number;
  /** Number of key/value heads (grouped-query attention). @default numHeads */
  numKvHeads?: number;
  /** Width of the feed-forward layer. @default 8/3 of hiddenSize, rounded up to 256 */
  intermediateSize?: number;
  /** @default "silu" */
  hiddenAct?: HiddenAct;
  /** Base of the rotary frequencies. @default 10000 */
  ropeTheta?: number;
  /** @default 1e-5 */
  rmsNormEps?: number;
  /** Whether the head shares the embedding matrix. @default true */
  tieEmbeddings?: boolean;
  /** Longest sequence in tokens, stated in checkpoints. @default 2048 */
  maxSeqLen?: number;
  /** @default "ternary" */
  quantization?: Quantization;
  /** @default "absmax" */
  activationQuant?: ActivationQuant;
  /** Standard deviation of the initial weights. @default 0.02 */
  initStd?: number;
}

/**
 * What each number of a model may be: far above every model there is, and so low that what is made from them, lists of
 * tensors and sums of bytes, stays small and exact. Real numbers are those that float32 keeps apart from 0.
 */
export const MODEL_LIMITS = {
  vocabSize: [1, 2 ** 24],
  hiddenSize: [1, 2 ** 17],
  numLayers: [1, 4096],
  numHeads: [1, 2 ** 16],
  numKvHeads: [1, 2 ** 16],
  intermediateSize: [1, 2 ** 20],
  maxSeqLen: [1, 2 ** 24],
  ropeTheta: [1, 1e12],
  rmsNormEps: [1e-12, 0.1],
  initStd: [1e-6, 10],
} as const satisfies Partial<
  Record<keyof BitNetConfigOptions, readonly [min: number, max: number]>
>;

const MLP_MULTIPLE = 256; // llama.cpp's ternary blocks are 256 weights wide

/** A validated, immutable model shape. Throws `RangeError` naming the field, its value and the rule. */
export class BitNetConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly numLayers: number;
  readonly numHeads: number;
  readonly numKvHeads: number;
  readonly headDim: number;
  readonly intermediateSize: number;
  readonly hiddenAct: HiddenAct;
  readonly ropeTheta: number;
  readonly rmsNormEps: number;
  readonly tieEmbeddings: boolean;
  readonly maxSeqLen: number;
  readonly quantization: Quantization;
  readonly activationQuant: ActivationQuant;
  readonly initStd: number;

  constructor(options: BitNetConfigOptions) {
    this.vocabSize = options.vocabSize ?? 32000;
    this.hiddenSize = options.hiddenSize;
    this.numLayers = options.numLayers;
    this.numHeads = options.numHeads;
    this.numKvHeads = options.numKvHeads ?? options.numHeads;
    this.headDim = options.hiddenSize / options.numHeads;
    this.intermediateSize = options.intermediateSize ??
      Math.ceil((8 * options.hiddenSize) / 3 / MLP_MULTIPLE) * MLP_MULTIPLE;
    this.hiddenAct = options.hiddenAct ?? "silu";
    this.ropeTheta = options.ropeTheta ?? 10000;
    this.rmsNormEps = options.rmsNormEps ?? 1e-5;
    this.tieEmbeddings = options.tieEmbeddings ?? true;
    this.maxSeqLen = options.maxSeqLen ?? 2048;
    this.quantization = options.quantization ?? "ternary";
    this.activationQuant = options.activationQuant ?? "absmax";
    this.initStd = options.initStd ?? 0.02;
    validate(this);
  }
}

function validate(config: BitNetConfig): void {
  const counts = [
    "vocabSize",
    "hiddenSize",
    "numLayers",
    "numHeads",
    "numKvHeads",
    "intermediateSize",
    "maxSeqLen",
  ] as const;
  for (const name of counts) {
    const value = config[name];
    const [min, max] = MODEL_LIMITS[name];
    if (!Number.isSafeInteger(value) || value < min || value > max) {
      throw new RangeError(
        `Cannot build a model as ${name} must be a whole number from ${min} to ${max}: current value is ${
          describeValue(value)
        }`,
      );
    }
  }
  const { hiddenSize, numHeads, numKvHeads, headDim } = config;
  if (hiddenSize % numHeads !== 0) {
    throw new RangeError(
      `Cannot build a model as numHeads must divide hiddenSize: current values are ${numHeads} and ${hiddenSize}`,
    );
  }
  if (headDim % 2 !== 0 || headDim > 256) {
    throw new RangeError(
      `Cannot build a model as hiddenSize / numHeads must be even and at most 256: current value is ${headDim}`,
    );
  }
  if (numHeads % numKvHeads !== 0) {
    throw new RangeError(
      `Cannot build a model as numKvHeads must divide numHeads: current values are ${numKvHeads} and ${numHeads}`,
    );
  }
  for (const name of ["ropeTheta", "rmsNormEps", "initStd"] as const) {
    const [min, max] = MODEL_LIMITS[name];
    if (!(config[name] >= min && config[name] <= max)) {
      throw new RangeError(
        `Cannot build a model as ${name} must be a number from ${min} to ${max}: current value is ${
          describeValue(config[name])
        }`,
      );
    }
  }
  for (const name of ["hiddenAct", "quantization", "activationQuant"] as const) {
    const choices: readonly string[] = CHOICES[name];
    if (choices.includes(config[name])) continue;
    throw new RangeError(
      `Cannot build a model as ${name} must be ${choices.join(" or ")}: current value is ${
        describeValue(config[name])
      }`,
    );
  }
  if (typeof config.tieEmbeddings !== "boolean") {
    throw new RangeError(
      `Cannot build a model as tieEmbeddings must be true or false: current value is ${
        describeValue(config.tieEmbeddings)
      }`,
    );
  }
}
