/**
 * Causal self-attention with grouped key/value heads, rotary positions and BitNet's sub-norm before the output projection.
 *
 * Letters: N = B · T tokens, D hidden size, H query heads, G key/value heads, E head dimension.
 *
 * @module
 */

import { attentionBackward, attentionForward, ropeAttentionDecode } from "../kernels/attention.ts";
import { ropeBackward, ropeForward } from "../kernels/rope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { PassMemory, ProjectionInput } from "./activations.ts";
import type { CachedLayer } from "./kv_cache.ts";
import type { LayerContext } from "./layers.ts";
import type { BackwardOptions, Projection } from "./projection.ts";
import { RmsNorm } from "./rms_norm.ts";

/** Tensors of one attention layer's pass. */
export interface AttentionMemory {
  readonly input: ProjectionInput; // (N, D)
  readonly inputRstd: Tensor | null; // (N)
  readonly qkv: Tensor; // (N, (H + 2G) E), scratch
  readonly q: Tensor; // (B, H, T, E)
  readonly k: Tensor; // (B, G, T, E), or the cache (B, G, slots, E)
  readonly v: Tensor; // as k
  readonly kScale: Tensor | null; // (B, G, slots) of an int8 cache
  readonly vScale: Tensor | null; // as kScale
  readonly context: Tensor; // (N, H E)
  readonly logSumExp: Tensor; // (B, H, T)
  readonly output: ProjectionInput; // (N, H E)
  readonly outputRstd: Tensor | null; // (N)
  readonly gradients: AttentionGradients | null;
}

/** Scratch of the backward pass. */
interface AttentionGradients {
  readonly normed: Tensor; // (N, H E)
  readonly context: Tensor; // (N, H E)
  readonly delta: Tensor; // (B, H, T)
  readonly q: Tensor; // (B, H, T, E)
  readonly k: Tensor; // (B, G, T, E)
  readonly v: Tensor; // (B, G, T, E)
  readonly qkv: Tensor; // (N, (H + 2G) E)
}

/** What a pass tells every attention layer. */
export interface Positions {
  /** (positions, E) float32 of {@linkcode ropeTable}. */
  readonly cosSin: Tensor;
  /** (B) int32: tokens already in the cache; null in training. */
  readonly start: Tensor | null;
}

/** x + O(subnorm(attention(rope(QKV(norm(x)))))), by `config`'s heads. */
export class Attention {
  readonly norm: RmsNorm;
  readonly qkv: Projection;
  readonly subNorm: RmsNorm;
  readonly output: Projection;
  readonly #heads: number;
  readonly #kvHeads: number;
  readonly #headDim: number;

  constructor(context: LayerContext, layer: number) {
    const { config, parameters } = context;
    const prefix = `model.layers.${layer}`;
    const width = config.numHeads * config.headDim;
    const kvWidth = config.numKvHeads * config.headDim;
    this.#heads = config.numHeads;
    this.#kvHeads = config.numKvHeads;
    this.#headDim = config.headDim;
    this.norm = new RmsNorm(parameters, config, `${prefix}.input_layernorm`, config.hiddenSize);
    this.qkv = context.projection({
      parts: [
        { name: `${prefix}.self_attn.q_proj`, outFeatures: width },
        { name: `${prefix}.self_attn.k_proj`, outFeatures: kvWidth },
        { name: `${prefix}.self_attn.v_proj`, outFeatures: kvWidth },
      ],
      inFeatures: config.hiddenSize,
    });
    this.subNorm = new RmsNorm(parameters, config, `${prefix}.self_attn.attn_sub_norm`, width);
    this.output = context.projection({
      parts: [{ name: `${prefix}.self_attn.o_proj`, outFeatures: config.hiddenSize }],
      inFeatures: width,
    });
  }

  /** Plans the tensors of a pass. `cache` takes the place of k and v where there is one. */
  plan(memory: PassMemory, cache: CachedLayer | null): AttentionMemory {
    const { rows, sequences, tokens, training } = memory;
    const width = this.#heads * this.#headDim;
    const queries = [sequences, this.#heads, tokens, this.#headDim];
    const keys = [sequences, this.#kvHeads, tokens, this.#headDim];
    const rstd = (name: string) => training ? memory.saved(name, [rows], "float32") : null;
    return {
      input: memory.projectionInput("attention.input", this.norm.width),
      inputRstd: rstd("attention.input.rstd"),
      q: memory.saved("attention.q", queries),
      k: cache?.k ?? memory.saved("attention.k", keys),
      v: cache?.v ?? memory.saved("attention.v", keys),
      kScale: cache?.kScale ?? null,
      vScale: cache?.vScale ?? null,
      context: memory.saved("attention.context", [rows, width]),
      logSumExp: memory.saved("attention.log_sum_exp", queries.slice(0, 3), "float32"),
      output: memory.projectionInput("attention.output", width),
      outputRstd: rstd("attention.output.rstd"),
      qkv: memory.scratch("attention.qkv", [rows, this.qkv.outFeatures]),
      gradients: training
        ? {
          normed: memory.scratch("attention.normed.grad", [rows, width]),
          context: memory.scratch("attention.context.grad", [rows, width]),
          delta: memory.scratch("attention.delta", queries.slice(0, 3), "float32"),
          q: memory.scratch("attention.q.grad", queries),
          k: memory.scratch("attention.k.grad", keys),
          v: memory.scratch("attention.v.grad", keys),
          qkv: memory.scratch("attention.qkv.grad", [rows, this.qkv.outFeatures]),
        }
        : null,
    };
  }

  /** x (N, D) float32 to out (N, D) = x + attention(x); out may be x where no backward pass follows. */
  forward(x: Tensor, memory: AttentionMemory, positions: Positions, out: Tensor): void {
    this.norm.forward(x, memory.input, memory.inputRstd);
    this.qkv.forward(memory.input, memory.qkv);
    this.#attend(memory, positions);
    this.subNorm.forward(memory.context, memory.output, memory.outputRstd);
    this.output.forward(memory.output, out, x);
  }

  /** memory.qkv to memory.context, by way of the cache where there is one. */
  #attend(memory: AttentionMemory, { cosSin, start }: Positions): void {
    const { qkv, q, k, v, kScale, vScale, context: o } = memory;
    const scale = this.#headDim ** -0.5;
    if (start === null) {
      ropeForward({ qkv, cosSin, q, k, v });
      attentionForward({ q, k, v, o, lse: memory.logSumExp, scale });
    } else {
      ropeAttentionDecode({
        qkv,
        cosSin,
        start,
        q,
        kCache: k,
        vCache: v,
        kScale,
        vScale,
        o,
        scale,
      });
    }
  }

  /** Turns dout (N, D), the gradient of the output, into the gradient of x, in place. x is the forward's. */
  backward(
    dout: Tensor,
    x: Tensor,
    memory: AttentionMemory,
    options: BackwardOptions & { positions: Positions },
  ): void {
    const { positions } = options;
    const { q, k, v, gradients } = memory;
    if (gradients === null || memory.outputRstd === null || memory.inputRstd === null) {
      throw new Error("Cannot run a backward pass as the forward pass was planned without one");
    }
    const scale = this.#headDim ** -0.5;
    this.output.backward(memory.output, dout, gradients.normed, options);
    this.subNorm.backward(
      gradients.normed,
      { x: memory.context, rstd: memory.outputRstd },
      gradients.context,
      { accumulate: false },
    );
    attentionBackward({
      dout: gradients.context,
      q,
      k,
      v,
      o: memory.context,
      lse: memory.logSumExp,
      delta: gradients.delta,
      dq: gradients.q,
      dk: gradients.k,
      dv: gradients.v,
      scale,
    });
    ropeBackward({
      dq: gradients.q,
      dk: gradients.k,
      dv: gradients.v,
      cosSin: positions.cosSin,
      dqkv: gradients.qkv,
    });
    const dnormed = gradients.normed.view([x.shape[0]!, this.norm.width]);
    this.qkv.backward(memory.input, gradients.qkv, dnormed, options);
    this.norm.backward(dnormed, { x, rstd: memory.inputRstd }, dout, { accumulate: true });
  }
}
