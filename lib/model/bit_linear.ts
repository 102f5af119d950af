/**
 * BitLinear of BitNet b1.58 (arXiv:2402.17764): ternary weights, 8-bit activations, straight-through gradients.
 *
 * @module
 */

import {
  gemmTernaryBackwardInput,
  gemmTernaryBackwardWeight,
  gemmTernaryForward,
} from "../kernels/gemm_ternary.ts";
import { quantizeWeight } from "../kernels/quantize_weight.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { ProjectionInput } from "./activations.ts";
import type { StackedParameter } from "./parameters.ts";
import {
  type BackwardOptions,
  declareWeight,
  type Projection,
  type ProjectionSpec,
} from "./projection.ts";

/** One of the matrices that a projection stacks. */
export interface TernaryMatrix {
  /** Latent weight, (rows, in) float32. */
  readonly w: Tensor;
  /** T(W), (rows, in) int8. */
  readonly q: Tensor;
  /** β in every element, (rows) float32. */
  readonly scale: Tensor;
}

/**
 * y = (Q(x) · T(W)ᵀ) · x_scale · β, with β = mean|W| of each stacked matrix and T(W) = clip(round(W / β), -1, 1).
 *
 * The input comes quantised from the norm before it. Gradients pass both quantisers unchanged:
 * dx = dy · (β T(W)) and dW = dyᵀ · (x_scale Q(x)).
 *
 * To research another weight quantiser, subclass it and override {@linkcode BitLinear.prepare}.
 */
export class BitLinear implements Projection {
  readonly outFeatures: number;
  readonly inFeatures: number;
  /** Latent weight, (out, in) float32, and its gradient, float32 or bfloat16. */
  readonly weight: StackedParameter;
  /** T(W), (out, in) int8. */
  readonly ternary: Tensor;
  /** β of the matrix each row belongs to, (out) float32. */
  readonly scale: Tensor;

  constructor(spec: ProjectionSpec) {
    this.outFeatures = spec.parts.reduce((sum, part) => sum + part.outFeatures, 0);
    this.inFeatures = spec.inFeatures;
    this.weight = declareWeight(spec);
    const name = spec.parts.map((part) => part.name).join(" + ");
    this.ternary = spec.derived.tensor(`${name}.ternary`, "int8", [
      this.outFeatures,
      this.inFeatures,
    ]);
    this.scale = spec.derived.tensor(`${name}.scale`, "float32", [this.outFeatures]);
  }

  /** The stacked matrices in order. */
  matrices(): TernaryMatrix[] {
    let row = 0;
    return this.weight.parts.map(({ value }) => {
      const from = row;
      row += value.shape[0]!;
      return { w: value, q: this.ternary.rows(from, row), scale: this.scale.rows(from, row) };
    });
  }

  prepare(): void {
    for (const matrix of this.matrices()) quantizeWeight(matrix);
  }

  forward(x: ProjectionInput, y: Tensor, residual?: Tensor): void {
    const { q, scale } = quantized(x);
    gemmTernaryForward({
      x: q,
      xScale: scale,
      w: this.ternary,
      wScale: this.scale,
      residual: residual ?? null,
      y,
    });
  }

  backward(x: ProjectionInput, dy: Tensor, dx: Tensor, { accumulate }: BackwardOptions): void {
    const { q, scale } = quantized(x);
    gemmTernaryBackwardWeight({ dy, x: q, xScale: scale, dw: this.weight.grad, accumulate });
    gemmTernaryBackwardInput({ dy, w: this.ternary, wScale: this.scale, dx });
  }
}

function quantized(x: ProjectionInput): { q: Tensor; scale: Tensor } {
  if (x.q === null || x.scale === null) {
    throw new TypeError(
      "Cannot run BitLinear as its input must be quantised: give q and scale, which a model has under " +
        '`quantization: "ternary"`; under "none" take a projection that reads y, such as Linear',
    );
  }
  return { q: x.q, scale: x.scale };
}
