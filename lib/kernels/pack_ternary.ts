/**
 * Ternary weights at two bits each.
 *
 * Value j of a row sits in bits 2(j mod 16) of word ⌊j / 16⌋ as code q + 1; code 1 (zero) fills a row's last word.
 *
 * @module
 */

import { expectTensor, type Tensor } from "../tensor/tensor.ts";
import { sizesOf } from "./operand.ts";

/** Ternary values in one int32. */
const VALUES_PER_WORD = 16;

/** Words of a packed row of `columns` values. */
export function packedWidth(columns: number): number {
  return Math.ceil(columns / VALUES_PER_WORD);
}

/**
 * packed (rows, {@linkcode packedWidth}(columns)) int32 from q (rows, columns) int8 of -1, 0 and 1. Other values of q are not
 * representable and come out as other codes.
 *
 * Throws `RangeError` where shapes don't meet, `TypeError` for a wrong dtype.
 */
export function packTernary(operands: { q: Tensor; packed: Tensor }): void {
  const { q, packed } = operands;
  const [rows, columns] = check(operands, "tb_pack_ternary");
  const device = packed.device;
  device.check(
    device.symbols.tb_pack_ternary(
      device.context,
      q.address,
      packed.address,
      BigInt(rows),
      BigInt(columns),
    ),
    "tb_pack_ternary",
  );
}

/** The way back: q (rows, columns) int8 from packed. Throws as {@linkcode packTernary}. */
export function unpackTernary(operands: { packed: Tensor; q: Tensor }): void {
  const { q, packed } = operands;
  const [rows, columns] = check(operands, "tb_unpack_ternary");
  const device = q.device;
  device.check(
    device.symbols.tb_unpack_ternary(
      device.context,
      packed.address,
      q.address,
      BigInt(rows),
      BigInt(columns),
    ),
    "tb_unpack_ternary",
  );
}

function check(
  { q, packed }: { q: Tensor; packed: Tensor },
  op: string,
): readonly [rows: number, columns: number] {
  const [rows, columns] = sizesOf(q, { op, dimensions: "rows, columns" });
  expectTensor(q, { op, dtype: "int8" });
  expectTensor(packed, { op, dtype: "int32", shape: [rows, packedWidth(columns)] });
  return [rows, columns];
}
