/**
 * The gated feed-forward layer: SwiGLU (arXiv:2002.05202) or squared ReLU, with BitNet's sub-norm before the down projection.
 *
 * Letters: N tokens, D hidden size, F intermediate size.
 *
 * @module
 */

import { gluNormBackward, gluNormForward } from "../kernels/glu_norm.ts";
import type { DType } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { PassMemory, ProjectionInput } from "./activations.ts";
import type { HiddenAct } from "./config.ts";
import type { LayerContext } from "./layers.ts";
import type { BackwardOptions, Projection } from "./projection.ts";
import { RmsNorm } from "./rms_norm.ts";

/** Tensors of one feed-forward layer's pass. */
export interface FeedForwardMemory {
  readonly input: ProjectionInput; // (N, D)
  readonly inputRstd: Tensor | null; // (N)
  readonly gateUp: Tensor; // (N, 2F)
  readonly down: ProjectionInput; // (N, F)
  readonly downRstd: Tensor | null; // (N)
  /** Whether gateUp, down and downRstd are scratch, which the backward pass computes again from `input`. */
  readonly hiddenRecomputed: boolean;
  readonly gradients: FeedForwardGradients | null;
}

/** Scratch of the backward pass. */
interface FeedForwardGradients {
  readonly normed: Tensor; // (N, F)
  readonly gateUp: Tensor; // (N, 2F)
  readonly input: Tensor; // (N, D)
}

/** x + Down(subnorm(act(Gate(norm(x))) · Up(norm(x)))). */
export class FeedForward {
  readonly norm: RmsNorm;
  readonly gateUp: Projection;
  readonly subNorm: RmsNorm;
  readonly down: Projection;
  readonly #act: HiddenAct;

  constructor(context: LayerContext, layer: number) {
    const { config, parameters } = context;
    const prefix = `model.layers.${layer}`;
    const width = config.intermediateSize;
    this.#act = config.hiddenAct;
    this.norm = new RmsNorm(
      parameters,
      config,
      `${prefix}.post_attention_layernorm`,
      config.hiddenSize,
    );
    this.gateUp = context.projection({
      parts: [
        { name: `${prefix}.mlp.gate_proj`, outFeatures: width },
        { name: `${prefix}.mlp.up_proj`, outFeatures: width },
      ],
      inFeatures: config.hiddenSize,
    });
    this.subNorm = new RmsNorm(parameters, config, `${prefix}.mlp.ffn_sub_norm`, width);
    this.down = context.projection({
      parts: [{ name: `${prefix}.mlp.down_proj`, outFeatures: config.hiddenSize }],
      inFeatures: width,
    });
  }

  /** Plans the tensors of a pass. */
  plan(memory: PassMemory): FeedForwardMemory {
    const { rows, training } = memory;
    const width = this.subNorm.width;
    const recomputed = training && memory.recompute === "mlp";
    const hidden = (name: string, shape: readonly number[], dtype?: DType) =>
      recomputed ? memory.scratch(name, shape, dtype) : memory.saved(name, shape, dtype);
    return {
      input: memory.projectionInput("feed_forward.input", this.norm.width),
      inputRstd: training ? memory.saved("feed_forward.input.rstd", [rows], "float32") : null,
      gateUp: hidden("feed_forward.gate_up", [rows, 2 * width]),
      down: memory.projectionInput("feed_forward.down", width, { recomputed }),
      downRstd: training ? hidden("feed_forward.down.rstd", [rows], "float32") : null,
      hiddenRecomputed: recomputed,
      gradients: training
        ? {
          normed: memory.scratch("feed_forward.normed.grad", [rows, width]),
          gateUp: memory.scratch("feed_forward.gate_up.grad", [rows, 2 * width]),
          input: memory.scratch("feed_forward.input.grad", [rows, this.norm.width]),
        }
        : null,
    };
  }

  /** x (N, D) float32 to out (N, D) = x + feedForward(x); out may be x where no backward pass follows. */
  forward(x: Tensor, memory: FeedForwardMemory, out: Tensor): void {
    this.recompute(x, memory);
    this.down.forward(memory.down, out, x);
  }

  /** Everything of the forward pass but its last product: what the backward pass reads. */
  recompute(x: Tensor, memory: FeedForwardMemory): void {
    this.norm.forward(x, memory.input, memory.inputRstd);
    this.#hidden(memory);
  }

  /** memory.input to memory.down. */
  #hidden(memory: FeedForwardMemory): void {
    this.gateUp.forward(memory.input, memory.gateUp);
    gluNormForward({
      gateUp: memory.gateUp,
      act: this.#act,
      weight: this.subNorm.weight.value,
      eps: this.subNorm.eps,
      quantizer: this.subNorm.quantizerOf(memory.down),
      q: memory.down.q,
      scale: memory.down.scale,
      y: memory.down.y,
      rstd: memory.downRstd,
    });
  }

  /** Turns dout (N, D), the gradient of the output, into the gradient of x, in place. x is the forward's. */
  backward(
    dout: Tensor,
    x: Tensor,
    memory: FeedForwardMemory,
    options: BackwardOptions,
  ): void {
    const { gradients } = memory;
    if (gradients === null || memory.downRstd === null || memory.inputRstd === null) {
      throw new Error("Cannot run a backward pass as the forward pass was planned without one");
    }
    if (memory.hiddenRecomputed) this.#hidden(memory);
    this.down.backward(memory.down, dout, gradients.normed, options);
    gluNormBackward({
      dy: gradients.normed,
      gateUp: memory.gateUp,
      act: this.#act,
      weight: this.subNorm.weight.value,
      rstd: memory.downRstd,
      dgateUp: gradients.gateUp,
      dweight: this.subNorm.weight.grad,
    });
    this.gateUp.backward(memory.input, gradients.gateUp, gradients.input, options);
    this.norm.backward(gradients.input, { x, rstd: memory.inputRstd }, dout, { accumulate: true });
  }
}
