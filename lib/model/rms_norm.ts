/**
 * RMSNorm (arXiv:1910.07467), fused with the quantiser of the projection it feeds.
 *
 * @module
 */

import { rmsnormBackward, rmsnormForward } from "../kernels/rmsnorm.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { ProjectionInput } from "./activations.ts";
import type { BitNetConfig } from "./config.ts";
import type { ParameterStore, StackedParameter } from "./parameters.ts";

/** n = x / sqrt(mean(x²) + eps) · weight over rows of `width`. */
export class RmsNorm {
  readonly width: number;
  readonly eps: number;
  /** (width) float32. */
  readonly weight: StackedParameter;
  readonly #quant: "absmax" | "absmean";

  constructor(parameters: ParameterStore, config: BitNetConfig, name: string, width: number) {
    this.width = width;
    this.eps = config.rmsNormEps;
    this.#quant = config.activationQuant;
    this.weight = parameters.declare({
      group: "norms",
      parts: [{ name: `${name}.weight`, shape: [width] }],
    });
  }

  /** The quantiser that {@linkcode ProjectionInput} asks for. */
  quantizerOf(input: ProjectionInput): "absmax" | "absmean" | "none" {
    return input.q === null ? "none" : this.#quant;
  }

  /** x (N, width) to a projection's input; rstd (N) float32 is kept for the backward pass. */
  forward(x: Tensor, out: ProjectionInput, rstd: Tensor | null): void {
    rmsnormForward({
      x,
      weight: this.weight.value,
      eps: this.eps,
      quantizer: this.quantizerOf(out),
      q: out.q,
      scale: out.scale,
      y: out.y,
      rstd,
    });
  }

  /** dy (N, width) to dx, added to what dx holds where `accumulate`. */
  backward(
    dy: Tensor,
    saved: { x: Tensor; rstd: Tensor },
    dx: Tensor,
    options: { accumulate: boolean },
  ): void {
    rmsnormBackward({
      dy,
      x: saved.x,
      weight: this.weight.value,
      rstd: saved.rstd,
      dx,
      dweight: this.weight.grad,
      accumulate: options.accumulate,
    });
  }
}
