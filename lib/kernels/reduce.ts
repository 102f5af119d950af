/**
 * Sums and norms over whole tensors.
 *
 * @module
 */

import { activationCode } from "../tensor/dtype.ts";
import { expectTensor, type Tensor } from "../tensor/tensor.ts";

/** Operands of {@linkcode sum} and {@linkcode norm}. */
export interface ReductionOperands {
  /** Of any shape; float32, of a norm bfloat16 too. */
  x: Tensor;
  /** (1) float32. */
  out: Tensor;
  /** @default false */
  accumulate?: boolean;
}

/**
 * `out` (1) = scale * sum of `x`, added to what `out` holds with `accumulate`; float32, summed in double in blocks of fixed
 * size.
 */
export function sum(
  operands: ReductionOperands & {
    /** @default 1 */
    scale?: number;
  },
): void {
  const op = "tb_sum";
  const { x, out, scale = 1, accumulate } = operands;
  expectTensor(x, { op, dtype: "float32" });
  expectTensor(out, { op, dtype: "float32", shape: [1] });
  const device = x.device;
  device.check(
    device.symbols.tb_sum(
      device.context,
      x.address,
      scale,
      out.address,
      BigInt(x.length),
      accumulate ? 1 : 0,
    ),
    op,
  );
}

/**
 * `out` (1) float32 = sqrt(sum of x²) of `x`, float32 or bfloat16, summed in double. With `accumulate` the square of what `out`
 * holds is added under the root, for a norm over several tensors. Not finite where any value is not.
 */
export function norm(operands: ReductionOperands): void {
  const op = "tb_norm";
  const { x, out, accumulate } = operands;
  expectTensor(out, { op, dtype: "float32", shape: [1] });
  const device = x.device;
  device.check(
    device.symbols.tb_norm(
      device.context,
      activationCode(x.dtype),
      x.address,
      out.address,
      BigInt(x.length),
      accumulate ? 1 : 0,
    ),
    op,
  );
}
