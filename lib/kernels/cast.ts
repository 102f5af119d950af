/**
 * Values from one activation dtype to another.
 *
 * @module
 */

import { activationCode } from "../tensor/dtype.ts";
import { expectTensor, type Tensor } from "../tensor/tensor.ts";

/** `to` = `from`, float32 or bfloat16 each, of one shape; rounded to nearest even, NaN stays NaN. */
export function cast(operands: { from: Tensor; to: Tensor }): void {
  const op = "tb_cast";
  const { from, to } = operands;
  expectTensor(to, { op, shape: from.shape });
  const device = to.device;
  device.check(
    device.symbols.tb_cast(
      device.context,
      activationCode(from.dtype),
      from.address,
      activationCode(to.dtype),
      to.address,
      BigInt(to.length),
    ),
    op,
  );
}
