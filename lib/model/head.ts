/**
 * The language-model head and its loss; full precision, as in the BitNet papers.
 *
 * @module
 */

import { gemm } from "../kernels/gemm.ts";
import { headLoss } from "../kernels/head_loss.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { ComputeWeight } from "./compute_weight.ts";
import type { LayerContext } from "./layers.ts";
import type { StackedParameter } from "./parameters.ts";

/** logits = x Wᵀ with W (V, D), the embedding matrix itself where `tieEmbeddings`. */
export class Head {
  /** (V, D) float32. */
  readonly weight: StackedParameter;
  readonly #compute: ComputeWeight;

  constructor(context: LayerContext, embedding: StackedParameter) {
    const { vocabSize, hiddenSize, tieEmbeddings } = context.config;
    this.weight = tieEmbeddings ? embedding : context.parameters.declare({
      group: "embeddings",
      parts: [{ name: "lm_head.weight", shape: [vocabSize, hiddenSize] }],
    });
    this.#compute = new ComputeWeight(this.weight, {
      derived: context.derived,
      dtype: context.dtype,
      name: "lm_head",
      shape: [vocabSize, hiddenSize],
    });
  }

  /** Derives what the passes need from the weight: once after every change of it. */
  prepare(): void {
    this.#compute.prepare();
  }

  /** x (M, D) to logits (M, V) float32. */
  logits(x: Tensor, logits: Tensor): void {
    gemm({ a: x, b: this.#compute.value, transposeB: true, c: logits });
  }

  /**
   * Cross-entropy of each row of x (N, D) against targets (N) int32 in loss (N) float32. With `gradient`: dx (N, D) and the
   * weight's gradient, both times `scale`. workspace holds the logits of some rows at a time.
   */
  loss(
    x: Tensor,
    targets: Tensor,
    memory: { loss: Tensor; workspace: Tensor },
    gradient?: { dx: Tensor; scale: number },
  ): void {
    headLoss({
      x,
      head: this.#compute.value,
      targets,
      loss: memory.loss,
      dx: gradient?.dx ?? null,
      dhead: gradient === undefined ? null : this.weight.grad,
      gradScale: gradient?.scale ?? 0,
      workspace: memory.workspace,
    });
  }
}
