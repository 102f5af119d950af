/**
 * The BitNet b1.58 transformer: its forward and backward pass as lists of op calls over planned memory.
 *
 * Letters: B sequences, T tokens of a sequence, N = B · T, D hidden size, V vocabulary.
 *
 * @module
 */

import { Device, type DeviceOptions } from "../ffi/device.ts";
import type { DeviceKind } from "../ffi/library.ts";
import { Block } from "./block.ts";
import type { BitNetConfig } from "./config.ts";
import type { Head } from "./head.ts";
import { LayerContext, type Layers } from "./layers.ts";
import type { MetricLog } from "./metric_log.ts";
import type { ParameterStore, StackedParameter } from "./parameters.ts";
import { Pass, type PassOptions } from "./pass.ts";
import { readStateDict, type StateDict, writeStateDict } from "./state_dict.ts";
import type { ActivationDType } from "../tensor/dtype.ts";
import { asTokenBatch, shiftLabels, type TokenIds } from "./token_batch.ts";
import { RmsNorm } from "./rms_norm.ts";

/** Options of {@linkcode BitNetTransformer.create}. */
export interface CreateOptions {
  /** A device of the caller's, or which one to open. @default "auto" */
  device?: Device | DeviceKind | DeviceOptions;
  /** Whether gradients are kept. @default true */
  training?: boolean;
  /** Dtype of activations; the CPU build has float32 alone. @default the device's */
  dtype?: ActivationDType;
  /** Dtype of the projections' gradients; the CPU build has float32 alone. @default "float32" */
  gradientDtype?: ActivationDType;
  /** Seed of the initial weights; null leaves them 0, for a caller that loads them. @default 0 */
  seed?: number | null;
  /** Layers to put in the place of BitNet's own. */
  layers?: Partial<Layers>;
  /**
   * Kinds of `layers` that no other program has, as a saved model notes them. @default all of
   * `layers`
   */
  ownLayers?: readonly string[];
}

/** Result of {@linkcode BitNetTransformer.forward}. */
export interface ForwardResult {
  /**
   * Mean cross-entropy in nats over the tokens that have a label, or mean of the loss of its own that a model trains with; null without
   * labels.
   */
  readonly loss: number | null;
  /** (N, V) float32, computed when first read, since a training step never needs it whole. Valid until the next forward. */
  readonly logits: Float32Array;
}

/**
 * A decoder-only transformer whose projections are ternary.
 *
 * Create it with {@linkcode BitNetTransformer.create}; the constructor only plans. It owns its memory: hold it with `using`.
 */
export class BitNetTransformer implements Disposable {
  readonly config: BitNetConfig;
  /** Dtype of activations and of the gradients between ops. */
  readonly dtype: ActivationDType;
  readonly blocks: readonly Block[];
  readonly norm: RmsNorm;
  readonly head: Head;
  /** (V, D) float32. */
  readonly embedding: StackedParameter;
  /** Kinds of layers that are a program's own, such as `projection`. */
  readonly ownLayers: readonly string[];
  readonly #context: LayerContext;
  readonly #training: boolean;
  #device: Device | null = null;
  #ownsDevice = false;
  #pass: Pass | null = null;
  #prepared = false;
  #gradScale: number | null = null; // of the last forward pass, where it had labels

  /** Plans a model without taking memory; see {@linkcode BitNetTransformer.create}. */
  constructor(
    config: BitNetConfig,
    options: {
      training: boolean;
      dtype?: ActivationDType;
      gradientDtype?: ActivationDType;
      layers?: Partial<Layers>;
      ownLayers?: readonly string[];
    },
  ) {
    this.config = config;
    this.ownLayers = options.ownLayers ?? Object.keys(options.layers ?? {});
    this.#training = options.training;
    this.dtype = options.dtype ?? "float32";
    const context = new LayerContext(config, {
      dtype: this.dtype,
      ...(options.layers !== undefined && { layers: options.layers }),
    });
    this.#context = context;
    this.embedding = context.parameters.declare({
      group: "embeddings",
      parts: [{ name: "model.embed_tokens.weight", shape: [config.vocabSize, config.hiddenSize] }],
    });
    this.blocks = Array.from(
      { length: config.numLayers },
      (_, layer) => new Block(context, layer),
    );
    this.norm = new RmsNorm(context.parameters, config, "model.norm", config.hiddenSize);
    this.head = context.layers.head(context, this.embedding);
    context.parameters.layOut({
      gradients: options.training,
      ...(options.gradientDtype !== undefined && { gradientDtype: options.gradientDtype }),
    });
  }

  /**
   * Builds a model with fresh weights on a device.
   *
   * Throws `NativeError` where the device can't be opened or lacks the memory.
   */
  static create(config: BitNetConfig, options: CreateOptions = {}): BitNetTransformer {
    const given = options.device ?? "auto";
    const owned = !(given instanceof Device);
    const device = given instanceof Device
      ? given
      : Device.open(typeof given === "string" ? { kind: given } : given);
    let model: BitNetTransformer | null = null;
    try {
      model = new BitNetTransformer(config, {
        training: options.training ?? true,
        dtype: options.dtype ?? device.activationDtype,
        ...(options.gradientDtype !== undefined && { gradientDtype: options.gradientDtype }),
        ...(options.layers !== undefined && { layers: options.layers }),
        ...(options.ownLayers !== undefined && { ownLayers: options.ownLayers }),
      });
      model.#device = device;
      model.#ownsDevice = owned;
      model.parameters.commit(device);
      model.#context.derived.commit(device);
      const { seed = 0 } = options;
      if (seed !== null) model.parameters.initialize({ seed, std: config.initStd });
    } catch (error) {
      model?.[Symbol.dispose]();
      if (owned) device[Symbol.dispose]();
      throw error;
    }
    return model;
  }

  /** The device the model lives on; throws for a model that was only planned. */
  get device(): Device {
    if (this.#device === null) {
      throw new Error("Cannot run the model as it was only planned: use BitNetTransformer.create");
    }
    return this.#device;
  }

  /** Latent weights and gradients. */
  get parameters(): ParameterStore {
    return this.#context.parameters;
  }

  /** Metrics of one's own: what layers logged, and what a loop logs beside them. */
  get metrics(): MetricLog {
    return this.#context.metrics;
  }

  /** Bytes of what is derived from the weights: ternary values and their scales, copies in the activation dtype. */
  get derivedBytes(): number {
    return this.#context.derived.bytes;
  }

  /** Plans the memory of passes over (sequences, tokens); `commit` it on the model's device before use. */
  plan(options: PassOptions): Pass {
    return new Pass(this, options);
  }

  /** The parameters by name, copied to the host. */
  stateDict(): StateDict {
    return readStateDict(this.parameters);
  }

  /**
   * Takes values of exactly the model's parameters. Throws `RangeError` for names that are missing
   * or unknown, other shapes or other arrays than `Float32Array`, before any weight is touched.
   */
  loadStateDict(values: StateDict): void {
    writeStateDict(this.parameters, values);
    this.parametersChanged();
  }

  /** Says that latent weights were changed from outside; the next pass derives the ternary ones and copies anew. */
  parametersChanged(): void {
    this.#prepared = false;
  }

  /** Derives the ternary weights, and copies in the activation dtype, where the latent ones have changed. Every pass begins with it. */
  prepare(): void {
    if (this.#prepared) return;
    for (const projection of this.#context.projections) projection.prepare();
    this.head.prepare();
    this.#prepared = true;
  }

  /**
   * Runs tokens through the network.
   *
   * `ids`: one sequence, or several of equal length. `labels`: same shape; position t is scored against label t + 1, as Hugging
   * Face does, so `labels: ids` is language modelling; a negative label is ignored.
   *
   * Throws `RangeError` for an id outside the vocabulary, or sequences of different lengths.
   */
  forward(ids: TokenIds, options: { labels?: TokenIds } = {}): ForwardResult {
    const batch = asTokenBatch(ids, this.config.vocabSize, { name: "ids" });
    const pass = this.#passFor(batch.sequences, batch.tokens);
    pass.ids.upload(batch.values);
    let loss: number | null = null;
    this.#gradScale = null;
    pass.forward();
    if (options.labels !== undefined) {
      const labels = asTokenBatch(options.labels, this.config.vocabSize, {
        name: "labels",
        shape: batch,
        ignore: true,
      });
      const { targets, count } = shiftLabels(labels);
      pass.targets.upload(targets);
      if (count === 0) {
        throw new RangeError("Cannot compute a loss as no position has a label to predict");
      }
      this.#gradScale = 1 / count;
      loss = pass.loss({ scale: this.#gradScale, trained: this.#training });
    }
    let logits: Float32Array | null = null;
    return {
      loss,
      get logits() {
        return logits ??= pass.logits();
      },
    };
  }

  /**
   * Adds the gradients of the last {@linkcode BitNetTransformer.forward}'s loss to `parameters`' gradients.
   *
   * Throws `Error` where that forward had no labels, or the model is not for training.
   */
  backward(): void {
    if (!this.#training) {
      throw new Error("Cannot run a backward pass as the model was created with training: false");
    }
    if (this.#gradScale === null || this.#pass === null) {
      throw new Error("Cannot run a backward pass as no forward pass with labels came before it");
    }
    this.#pass.backward({ gradScale: this.#gradScale });
    this.#gradScale = null;
  }

  [Symbol.dispose](): void {
    this.#pass?.[Symbol.dispose]();
    this.#pass = null;
    this.#context.parameters[Symbol.dispose]();
    this.#context.derived[Symbol.dispose]();
    if (this.#ownsDevice) this.#device?.[Symbol.dispose]();
    this.#device = null;
  }

  #passFor(sequences: number, tokens: number): Pass {
    const pass = this.#pass;
    if (pass !== null && pass.memory.sequences === sequences && pass.memory.tokens === tokens) {
      return pass;
    }
    pass?.[Symbol.dispose]();
    this.#pass = null;
    this.#pass = this.plan({ sequences, tokens, training: this.#training }).commit(this.device);
    return this.#pass;
  }
}
