/**
 * Output head fused with the cross-entropy.
 *
 * @module
 */

import { activationCode, BYTES, type DType } from "../tensor/dtype.ts";
import { expectTensor, type Tensor } from "../tensor/tensor.ts";
import { addressOf, expectOptional, sizesOf } from "./operand.ts";

/** Bytes of workspace that one row of `vocabSize` logits takes in {@linkcode headLoss}. */
export function headLossBytes(vocabSize: number, dtype: DType): number {
  return vocabSize * (dtype === "float32" ? BYTES.float32 : BYTES.float32 + BYTES[dtype]);
}

/**
 * Cross-entropy of the logits `x` (N, D) . `head`ᵀ (V, D) against `targets` (N) int32 into `loss` (N) float32, in nats. A target
 * below 0 is ignored: loss 0, no gradient. Logits of as many rows as fit `workspace` exist at a time, {@linkcode headLossBytes}
 * each. `x`, `head` and `dx` share an activation dtype.
 *
 * `dx` (N, D), where given, receives gradScale * dloss/dx; `dhead` (V, D) float32, where given, is added to.
 *
 * Throws `NativeError` for a target that the vocabulary lacks (CPU), writing nothing; on CUDA its loss becomes NaN.
 */
export function headLoss(
  operands: {
    x: Tensor;
    head: Tensor;
    targets: Tensor;
    loss: Tensor;
    dx?: Tensor | null;
    dhead?: Tensor | null;
    /** @default 1 */
    gradScale?: number;
    workspace: Tensor;
  },
): void {
  const op = "tb_head_loss";
  const { x, head, targets, loss, dx, dhead, gradScale = 1, workspace } = operands;
  const [N, D] = sizesOf(x, { op, dimensions: "N, D" });
  const [V] = sizesOf(head, { op, dimensions: "V, D" });
  const dtype = x.dtype;
  expectTensor(head, { op, dtype, shape: [V, D] });
  expectTensor(targets, { op, dtype: "int32" });
  expectTensor(loss, { op, dtype: "float32" });
  for (const tensor of [targets, loss]) {
    if (tensor.length !== N) {
      throw new RangeError(
        `Cannot run ${op} as ${tensor.name} must have ${N} elements: current shape is (${tensor.shape})`,
      );
    }
  }
  expectOptional(dx, { op, dtype, shape: [N, D] });
  expectOptional(dhead, { op, dtype: "float32", shape: [V, D] });
  const device = x.device;
  device.check(
    device.symbols.tb_head_loss(
      device.context,
      activationCode(dtype),
      x.address,
      head.address,
      targets.address,
      loss.address,
      addressOf(dx),
      addressOf(dhead),
      gradScale,
      workspace.address,
      BigInt(workspace.bytes),
      BigInt(N),
      BigInt(D),
      BigInt(V),
    ),
    op,
  );
}
