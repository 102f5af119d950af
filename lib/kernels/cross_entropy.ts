/**
 * Cross-entropy of logits against a mix of targets: what losses of one's own are made of.
 *
 * @module
 */

import { activationCode } from "../tensor/dtype.ts";
import { expectTensor, type Tensor } from "../tensor/tensor.ts";
import { addressOf, expectOptional, sizesOf } from "./operand.ts";

/** Operands of {@linkcode crossEntropy}. */
export interface CrossEntropyOperands {
  /** (N, V) float32. */
  logits: Tensor;
  /** (N) int32: the token to predict; a negative one is ignored, loss 0 and no gradient. */
  targets: Tensor;
  /** (N) float32, receives the loss of each row in nats. */
  loss: Tensor;
  /** (N, V) float32 or bfloat16, receives gradScale * dloss/dlogits; in float32 it may be the logits. @default none */
  dlogits?: Tensor | null;
  /** @default 1 */
  gradScale?: number;
  /** Share of the target's weight that goes to all tokens alike, 0 to 1. @default 0 */
  smoothing?: number;
  /** (N, V) float32: logits of another model, whose softmax is a target too. @default none */
  teacher?: Tensor | null;
  /** Weight of the teacher beside the target's, 0 to 1; above 0 where there is one. @default 0 */
  teacherWeight?: number;
}

/**
 * loss = -Σ t log softmax(logits) of each row, and its gradient, with
 * t = (1 - teacherWeight) ((1 - smoothing) onehot(target) + smoothing / V) + teacherWeight softmax(teacher).
 *
 * Sums are float32, in the same order whatever the number of threads. Throws `RangeError` where shapes don't meet, `TypeError` for a
 * wrong dtype, `NativeError` for a weight outside 0 to 1, a teacher without weight or a weight without teacher, and for a target that the
 * vocabulary lacks (CPU), writing nothing; on CUDA the loss and gradient of its row become NaN.
 */
export function crossEntropy(operands: CrossEntropyOperands): void {
  const op = "tb_cross_entropy";
  const { logits, targets, loss, dlogits, teacher } = operands;
  const { gradScale = 1, smoothing = 0, teacherWeight = 0 } = operands;
  const [N, V] = sizesOf(logits, { op, dimensions: "N, V" });
  expectTensor(logits, { op, dtype: "float32" });
  expectTensor(targets, { op, dtype: "int32", shape: [N] });
  expectTensor(loss, { op, dtype: "float32", shape: [N] });
  expectOptional(dlogits, { op, shape: [N, V] });
  expectOptional(teacher, { op, dtype: "float32", shape: [N, V] });
  const device = logits.device;
  device.check(
    device.symbols.tb_cross_entropy(
      device.context,
      logits.address,
      targets.address,
      addressOf(teacher),
      smoothing,
      teacherWeight,
      loss.address,
      activationCode(dlogits?.dtype ?? "float32"),
      addressOf(dlogits),
      gradScale,
      BigInt(N),
      BigInt(V),
    ),
    op,
  );
}
