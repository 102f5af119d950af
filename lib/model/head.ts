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
import type { LogitLoss } from "./logit_loss.ts";
import type { StackedParameter } from "./parameters.ts";

/** Memory of a loss over N rows. */
export interface LossMemory {
  readonly loss: Tensor; // (N) float32
  readonly workspace: Tensor; // (rows, V) float32, the logits of some rows
  readonly dlogits: Tensor | null; // (rows, V) where a loss of its own has gradients of another dtype than its logits
}

/** What a gradient of the loss goes to. */
export interface LossGradient {
  readonly dx: Tensor; // (N, D)
  /** Times dloss is the gradient. */
  readonly scale: number;
}

/** Rows of a tile of the card's products. */
const TILE_ROWS = 128;

/** logits = x Wᵀ with W (V, D), the embedding matrix itself where `tieEmbeddings`. */
export class Head {
  /** (V, D) float32. */
  readonly weight: StackedParameter;
  readonly #compute: ComputeWeight;
  readonly #ownLoss: LogitLoss | null;

  constructor(context: LayerContext, embedding: StackedParameter) {
    const { vocabSize, hiddenSize, tieEmbeddings } = context.config;
    this.weight = tieEmbeddings ? embedding : context.parameters.declare({
      group: "embeddings",
      parts: [{ name: "lm_head.weight", shape: [vocabSize, hiddenSize] }],
    });
    this.#ownLoss = context.layers.loss;
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
    memory: Pick<LossMemory, "loss" | "workspace">,
    gradient?: LossGradient,
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
  /** Whether {@linkcode Head.trainingLoss} is another one than {@linkcode Head.loss}. */
  get hasOwnLoss(): boolean {
    return this.#ownLoss !== null;
  }

  /**
   * What training minimises: the cross-entropy, or the model's own loss of the logits. Takes and gives what {@linkcode Head.loss} does;
   * `batch.ids` (B, T) are the tokens of x.
   */
  trainingLoss(
    x: Tensor,
    batch: { ids: Tensor; targets: Tensor },
    memory: LossMemory,
    gradient?: LossGradient,
  ): void {
    const ownLoss = this.#ownLoss;
    if (ownLoss === null) return this.loss(x, batch.targets, memory, gradient);
    const { workspace } = memory;
    const room = workspace.shape[0]!;
    const most = room > TILE_ROWS ? room - room % TILE_ROWS : room;
    const rows = x.shape[0]!;
    for (let from = 0; from < rows; from += most) {
      const to = Math.min(rows, from + most);
      const inputs = x.rows(from, to);
      const logits = workspace.rows(0, to - from);
      const dlogits = (memory.dlogits ?? workspace).rows(0, to - from);
      this.logits(inputs, logits);
      ownLoss({
        logits,
        targets: batch.targets.rows(from, to),
        loss: memory.loss.rows(from, to),
        dlogits: gradient === undefined ? null : dlogits,
        scale: gradient?.scale ?? 0,
        from,
        ids: batch.ids,
      });
      if (gradient === undefined) continue;
      const dw = this.weight.grad;
      gemm({ a: dlogits, b: this.#compute.value, c: gradient.dx.rows(from, to) });
      gemm({ a: dlogits, transposeA: true, b: inputs, residual: dw, c: dw });
    }
  }
}
