/**
 * A loss of the logits in the place of the cross-entropy.
 *
 * @module
 */

import type { Tensor } from "../tensor/tensor.ts";

/** Some rows of a micro-batch on their way through a {@linkcode LogitLoss}. Letters: M of the N = B · T rows, V vocabulary. */
export interface LogitRows {
  /** (M, V) float32. */
  readonly logits: Tensor;
  /** (M) int32: the token to predict; of a negative one loss and gradient must be 0. */
  readonly targets: Tensor;
  /** (M) float32, receives the loss of each row. */
  readonly loss: Tensor;
  /**
   * (M, V) of the activations' dtype, receives `scale` · dloss/dlogits; null where the loss alone is asked for. In float32 it is the
   * memory of `logits`: read those first, or write each where it was read.
   */
  readonly dlogits: Tensor | null;
  /** What gradients are multiplied by: 1 over the number of tokens of a step. */
  readonly scale: number;
  /** First of the rows among the micro-batch's N. */
  readonly from: number;
  /** (B, T) int32: the tokens of the whole micro-batch, for another model to run. */
  readonly ids: Tensor;
}

/**
 * Computes the loss of some rows, and its gradient by their logits. Rows come in order, as many at a time as the workspace of the
 * cross-entropy holds, so that a loss takes no more memory than that.
 *
 * On a card it is recorded into a graph, so that there it must be made of ops; the same on every call.
 */
export type LogitLoss = (rows: LogitRows) => void;
