/**
 * The unquantised projection of `quantization: none`: the same network without ternary weights, to measure what they cost.
 *
 * @module
 */

import { gemm } from "../kernels/gemm.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { ProjectionInput } from "./activations.ts";
import { ComputeWeight } from "./compute_weight.ts";
import type { StackedParameter } from "./parameters.ts";
import {
  type BackwardOptions,
  declareWeight,
  type Projection,
  type ProjectionSpec,
} from "./projection.ts";

/** y = x Wᵀ in the activation dtype. */
export class Linear implements Projection {
  readonly outFeatures: number;
  readonly inFeatures: number;
  /** Weight, (out, in) float32, and its gradient, float32 or bfloat16. */
  readonly weight: StackedParameter;
  readonly #compute: ComputeWeight;

  constructor(spec: ProjectionSpec) {
    this.outFeatures = spec.parts.reduce((sum, part) => sum + part.outFeatures, 0);
    this.inFeatures = spec.inFeatures;
    this.weight = declareWeight(spec);
    this.#compute = new ComputeWeight(this.weight, {
      derived: spec.derived,
      dtype: spec.dtype,
      name: spec.parts.map((part) => part.name).join(" + "),
      shape: [this.outFeatures, this.inFeatures],
    });
  }

  prepare(): void {
    this.#compute.prepare();
  }

  forward(x: ProjectionInput, y: Tensor, residual?: Tensor): void {
    gemm({
      a: plain(x),
      b: this.#compute.value,
      transposeB: true,
      residual: residual ?? null,
      c: y,
    });
  }

  backward(x: ProjectionInput, dy: Tensor, dx: Tensor, { accumulate }: BackwardOptions): void {
    const dw = this.weight.grad;
    gemm({ a: dy, transposeA: true, b: plain(x), residual: accumulate ? dw : null, c: dw });
    gemm({ a: dy, b: this.#compute.value, c: dx });
  }
}

function plain(x: ProjectionInput): Tensor {
  if (x.y === null) {
    throw new TypeError(
      "Cannot run Linear as its input must not be quantised: give y, which a model has under " +
        '`quantization: "none"`; under "ternary" take a projection that reads q and scale, such as BitLinear',
    );
  }
  return x.y;
}
