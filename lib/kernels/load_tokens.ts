/**
 * Token windows straight out of mapped token files.
 *
 * @module
 */

import { expectTensor, type Tensor } from "../tensor/tensor.ts";
import { sizesOf } from "./operand.ts";

const OP = "tb_load_tokens";
const INVALID_ARGUMENT = 1;

/** A token that the vocabulary lacks, as {@linkcode loadTokens} found it. */
export interface BadToken {
  /** Which of the windows. */
  window: number;
  /** Token offset in the window. */
  position: number;
  /** The id. */
  token: number;
}

/**
 * Copies B windows of T + 1 tokens into `ids` (B, T) int32 and, shifted by one, `targets` (B, T) int32.
 *
 * `windows` (B) holds the host address of each window's first token, of `width` (2 or 4) bytes. Every id is checked against
 * `vocabSize` before anything is written: a bad one is returned instead of thrown, so that the caller can name its file.
 */
export function loadTokens(
  operands: {
    windows: BigUint64Array<ArrayBuffer>;
    width: 2 | 4;
    vocabSize: number;
    ids: Tensor;
    targets: Tensor;
  },
): BadToken | null {
  const { windows, width, vocabSize, ids, targets } = operands;
  const [B, T] = sizesOf(ids, { op: OP, dimensions: "B, T" }) as [number, number];
  expectTensor(ids, { op: OP, dtype: "int32" });
  expectTensor(targets, { op: OP, dtype: "int32", shape: [B, T] });
  if (windows.length !== B) {
    throw new RangeError(
      `Cannot run ${OP} as windows must hold ${B} addresses: current length is ${windows.length}`,
    );
  }
  const device = ids.device;
  const bad = new BigInt64Array([-1n, -1n, -1n]);
  const status = device.symbols.tb_load_tokens(
    device.context,
    windows,
    width,
    BigInt(B),
    BigInt(T),
    BigInt(vocabSize),
    ids.address,
    targets.address,
    bad,
  );
  if (status === INVALID_ARGUMENT && bad[0]! >= 0n) {
    return { window: Number(bad[0]), position: Number(bad[1]), token: Number(bad[2]) };
  }
  device.check(status, OP);
  return null;
}
