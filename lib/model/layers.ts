/**
 * The layers a model is made of, and how to put another one in the place of one of them.
 *
 * @module
 */

import { Arena } from "../tensor/arena.ts";
import type { DType } from "../tensor/dtype.ts";
import { Attention } from "./attention.ts";
import { BitLinear } from "./bit_linear.ts";
import type { BitNetConfig } from "./config.ts";
import { FeedForward } from "./feed_forward.ts";
import { Head } from "./head.ts";
import { Linear } from "./linear.ts";
import type { LogitLoss } from "./logit_loss.ts";
import { type Log, MetricLog } from "./metric_log.ts";
import { ParameterStore, type StackedParameter } from "./parameters.ts";
import type { Projection, ProjectionFactory, ProjectionSpec } from "./projection.ts";

/** Constructors of the layers, and the loss; each can be replaced without editing the library. */
export interface Layers {
  /** Linear layers of the blocks. @default BitLinear, or Linear under `quantization: none` */
  readonly projection: ProjectionFactory;
  /** The attention layer of block `layer`. @default Attention */
  readonly attention: (context: LayerContext, layer: number) => Attention;
  /** The feed-forward layer of block `layer`. @default FeedForward */
  readonly feedForward: (context: LayerContext, layer: number) => FeedForward;
  /** The head; `embedding` is its weight too where they are tied. @default Head */
  readonly head: (context: LayerContext, embedding: StackedParameter) => Head;
  /** What training minimises, where it is not the cross-entropy, which stays what evaluations give. @default null */
  readonly loss: LogitLoss | null;
}

/** What a layer is constructed with: the config, and where its parameters and derived tensors go. */
export class LayerContext {
  readonly config: BitNetConfig;
  /** Dtype of activations. */
  readonly dtype: DType;
  readonly parameters: ParameterStore = new ParameterStore();
  /** Tensors computed from the weights, such as their ternary form. */
  readonly derived: Arena = new Arena("derived weights");
  /** Every projection made, in order. */
  readonly projections: Projection[] = [];
  readonly layers: Layers;
  /** Metrics of the layers' own. */
  readonly metrics: MetricLog = new MetricLog();

  constructor(
    config: BitNetConfig,
    options: { dtype?: DType; layers?: Partial<Layers> } = {},
  ) {
    this.config = config;
    this.dtype = options.dtype ?? "float32";
    this.layers = { ...defaultLayers(config), ...options.layers };
  }

  /** Logs metrics of a layer's own, for the next record of a step. */
  get log(): Log {
    return this.metrics.log;
  }

  /** Makes a projection by the model's factory. */
  projection(spec: Pick<ProjectionSpec, "parts" | "inFeatures">): Projection {
    const { config, parameters, derived, dtype, log } = this;
    const projection = this.layers.projection({ config, parameters, derived, dtype, log, ...spec });
    this.projections.push(projection);
    return projection;
  }
}

/** The layers of BitNet b1.58. */
export function defaultLayers(config: BitNetConfig): Layers {
  return {
    projection: config.quantization === "ternary"
      ? (spec) => new BitLinear(spec)
      : (spec) => new Linear(spec),
    attention: (context, layer) => new Attention(context, layer),
    feedForward: (context, layer) => new FeedForward(context, layer),
    head: (context, embedding) => new Head(context, embedding),
    loss: null,
  };
}
