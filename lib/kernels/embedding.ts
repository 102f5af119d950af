/**
 * Rows of the embedding table.
 *
 * @module
 */

import { activationCode } from "../tensor/dtype.ts";
import { expectTensor, type Tensor } from "../tensor/tensor.ts";
import { sizesOf } from "./operand.ts";

/**
 * `out` (N, D) = `table` (V, D) at `ids` (N) int32; all else float32. `ids` may have any shape of N elements.
 *
 * Throws `NativeError` where an id lies outside the table (CPU), writing nothing; on CUDA its row becomes NaN.
 */
export function embeddingForward(operands: { ids: Tensor; table: Tensor; out: Tensor }): void {
  const op = "tb_embedding_forward";
  const { ids, table, out } = operands;
  const [V, D] = sizesOf(table, { op, dimensions: "V, D" });
  expectTensor(ids, { op, dtype: "int32" });
  expectTensor(table, { op, dtype: "float32" });
  expectTensor(out, { op, dtype: "float32", shape: [ids.length, D] });
  const device = out.device;
  device.check(
    device.symbols.tb_embedding_forward(
      device.context,
      ids.address,
      table.address,
      out.address,
      BigInt(ids.length),
      BigInt(D),
      BigInt(V),
    ),
    op,
  );
}

/** `dtable` (V, D) float32 += `dout` (N, D), an activation, at the rows `ids` (N) int32, added in the order of N. */
export function embeddingBackward(operands: { ids: Tensor; dout: Tensor; dtable: Tensor }): void {
  const op = "tb_embedding_backward";
  const { ids, dout, dtable } = operands;
  const [V, D] = sizesOf(dtable, { op, dimensions: "V, D" });
  expectTensor(ids, { op, dtype: "int32" });
  expectTensor(dout, { op, shape: [ids.length, D] });
  expectTensor(dtable, { op, dtype: "float32" });
  const device = dtable.device;
  device.check(
    device.symbols.tb_embedding_backward(
      device.context,
      ids.address,
      activationCode(dout.dtype),
      dout.address,
      dtable.address,
      BigInt(ids.length),
      BigInt(D),
      BigInt(V),
    ),
    op,
  );
}
