/**
 * RMSNorm (arXiv:1910.07467), fused with the quantiser of the projection it feeds.
 *
 * @module
 */

import { gluNormForward } from "../kernels/glu_norm.ts";
import { rmsnormBackward, rmsnormForward } from "../kernels/rmsnorm.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { ProjectionInput } from "./activations.ts";
import type { BitNetConfig, HiddenAct } from "./config.ts";
import type { ParameterStore, StackedParameter } from "./parameters.ts";
import type { Projection } from "./projection.ts";

/** What a norm and the projection after it write. */
export interface ProjectedOutputs {
  /** Between the two; untouched where they are one op. */
  readonly input: ProjectionInput;
  /** (N) float32, or null where no backward pass follows. */
  readonly rstd: Tensor | null;
  readonly y: Tensor; // (N, out)
  /** Added to y; may be y. */
  readonly residual?: Tensor;
}

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

  /** {@linkcode RmsNorm.forward} of h = act(gate) * up, from gateUp (N, 2 width) = [gate | up]. */
  forwardGated(gateUp: Tensor, act: HiddenAct, out: ProjectionInput, rstd: Tensor | null): void {
    gluNormForward({
      gateUp,
      act,
      weight: this.weight.value,
      eps: this.eps,
      quantizer: this.quantizerOf(out),
      q: out.q,
      scale: out.scale,
      y: out.y,
      rstd,
    });
  }

  /**
   * x (N, width), or with `gate` [gate | up] (N, 2 width), through the norm and a projection. Where no backward pass follows, on a card
   * and of a projection that has it, that is one op, to the same bits; a CPU has nothing to gain from it.
   */
  project(x: Tensor, gate: HiddenAct | null, projection: Projection, out: ProjectedOutputs): void {
    const { input, rstd, y, residual } = out;
    const { q, scale } = input;
    if (
      rstd === null && q !== null && scale !== null && projection.forwardNormed !== undefined &&
      y.device.backend === "cuda"
    ) {
      const { eps } = this, weight = this.weight.value, quantizer = this.#quant;
      projection.forwardNormed({ x, gate, weight, eps, quantizer, q, scale }, y, residual);
      return;
    }
    if (gate === null) this.forward(x, input, rstd);
    else this.forwardGated(x, gate, input, rstd);
    projection.forward(input, y, residual);
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
