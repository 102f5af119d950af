/**
 * Random initial values.
 *
 * @module
 */

import { expectTensor, type Tensor } from "../tensor/tensor.ts";

const OP = "tb_random_normal";

/**
 * Fills a float32 tensor with N(0, std²): Philox4x32-10 and Box-Muller. Element i depends on `seed`, `stream` and i alone, so
 * every device and number of threads gives the same numbers.
 *
 * Throws `NativeError` where std is negative or not finite.
 */
export function randomNormal(
  operands: { to: Tensor; std: number; seed: bigint; stream: bigint },
): void {
  const { to, std, seed, stream } = operands;
  expectTensor(to, { op: OP, dtype: "float32" });
  const device = to.device;
  device.check(
    device.symbols.tb_random_normal(
      device.context,
      to.address,
      BigInt(to.length),
      std,
      seed,
      stream,
    ),
    OP,
  );
}
