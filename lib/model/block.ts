/**
 * One transformer block: attention, then feed-forward, each added to the residual stream.
 *
 * @module
 */

import type { Tensor } from "../tensor/tensor.ts";
import type { PassMemory } from "./activations.ts";
import type { Attention, AttentionMemory, Positions } from "./attention.ts";
import type { FeedForward, FeedForwardMemory } from "./feed_forward.ts";
import type { CachedLayer } from "./kv_cache.ts";
import type { LayerContext } from "./layers.ts";
import type { BackwardOptions } from "./projection.ts";

/** Tensors of one block's pass. The residual stream is (N, D) float32 on every device. */
export interface BlockMemory {
  readonly attention: AttentionMemory;
  readonly feedForward: FeedForwardMemory;
  readonly middle: Tensor; // (N, D) after attention
  readonly output: Tensor; // (N, D) after feed-forward
}

/** Attention and feed-forward of one layer. */
export class Block {
  readonly attention: Attention;
  readonly feedForward: FeedForward;
  readonly #hiddenSize: number;

  constructor(context: LayerContext, layer: number) {
    this.#hiddenSize = context.config.hiddenSize;
    this.attention = context.layers.attention(context, layer);
    this.feedForward = context.layers.feedForward(context, layer);
  }

  /** Plans the tensors of a pass; where no backward pass follows, the residual stream stays in `x`. */
  plan(memory: PassMemory, x: Tensor, cache: CachedLayer | null): BlockMemory {
    const shape = [memory.rows, this.#hiddenSize];
    const residual = (name: string) => memory.training ? memory.saved(name, shape, "float32") : x;
    const output = residual("block.output");
    return memory.layer(() => ({
      attention: memory.scratchScope(() => this.attention.plan(memory, cache)),
      feedForward: memory.scratchScope(() => this.feedForward.plan(memory)),
      middle: residual("block.middle"),
      output,
    }));
  }

  /** x (N, D) to memory.output. */
  forward(x: Tensor, memory: BlockMemory, positions: Positions): void {
    this.attention.forward(x, memory.attention, positions, memory.middle);
    this.feedForward.forward(memory.middle, memory.feedForward, memory.output);
  }

  /** Computes again, from x, everything that the backward pass needs and other blocks have overwritten. */
  recompute(x: Tensor, memory: BlockMemory, positions: Positions): void {
    this.attention.forward(x, memory.attention, positions, memory.middle);
    this.feedForward.recompute(memory.middle, memory.feedForward);
  }

  /** Turns the gradient of memory.output into the gradient of x, in place. */
  backward(
    dout: Tensor,
    x: Tensor,
    memory: BlockMemory,
    options: BackwardOptions & { positions: Positions },
  ): void {
    this.feedForward.backward(dout, memory.middle, memory.feedForward, options);
    this.attention.backward(dout, x, memory.attention, options);
  }
}
