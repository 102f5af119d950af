/**
 * What every linear layer of a block is to the block, whatever its weights are made of.
 *
 * @module
 */

import type { Tensor } from "../tensor/tensor.ts";
import type { Arena } from "../tensor/arena.ts";
import type { DType } from "../tensor/dtype.ts";
import type { ProjectionInput } from "./activations.ts";
import type { BitNetConfig } from "./config.ts";
import type { Log } from "./metric_log.ts";
import type { ParameterStore, StackedParameter } from "./parameters.ts";

/** What a projection is made from. */
export interface ProjectionSpec {
  readonly config: BitNetConfig;
  /** Where it declares its weights. */
  readonly parameters: ParameterStore;
  /** Where it plans what it derives from its weights, such as their ternary form. */
  readonly derived: Arena;
  /** Dtype of the activations it computes with. */
  readonly dtype: DType;
  /** Logs metrics of the projection's own, for the next record of a step. */
  readonly log: Log;
  /** Matrices that share the input and run as one product, each [out, in] with a scale of its own. */
  readonly parts: readonly { readonly name: string; readonly outFeatures: number }[];
  readonly inFeatures: number;
}

/** What a backward pass tells every projection. */
export interface BackwardOptions {
  /** Whether gradients of weights add to those of the micro-batches before. */
  readonly accumulate: boolean;
}

/** A linear layer without bias: y = x Wᵀ, forward and backward. */
export interface Projection {
  /** Rows of the stacked weight. */
  readonly outFeatures: number;
  readonly inFeatures: number;
  /** Derives what the passes need from the latent weights: once after every change of them. */
  prepare(): void;
  /** y (N, out) = x Wᵀ (+ residual (N, out)); y may be the residual. */
  forward(x: ProjectionInput, y: Tensor, residual?: Tensor): void;
  /**
   * dx (N, in) = dy W, and the weight's gradient = dyᵀ x, added to what it holds where `accumulate`; else every gradient of the
   * projection is written anew.
   */
  backward(x: ProjectionInput, dy: Tensor, dx: Tensor, options: BackwardOptions): void;
}

/** Makes a projection; a researcher passes another one to change every linear layer of a model. */
export type ProjectionFactory = (spec: ProjectionSpec) => Projection;

/** Declares the stacked weight of a projection: (sum of outFeatures, inFeatures), float32. */
export function declareWeight(spec: ProjectionSpec): StackedParameter {
  return spec.parameters.declare({
    group: "projections",
    parts: spec.parts.map((part) => ({
      name: `${part.name}.weight`,
      shape: [part.outFeatures, spec.inFeatures],
    })),
  });
}
