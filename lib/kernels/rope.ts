/**
 * Rotary position embedding fused with the split into heads.
 *
 * @module
 */

import { activationCode, cacheCode } from "../tensor/dtype.ts";
import { expectTensor, type Tensor } from "../tensor/tensor.ts";
import { addressOf, expectCache, expectOptional, sizesOf } from "./operand.ts";

/** Operands of {@linkcode ropeForward}: B sequences of T tokens, H query and G key/value heads of E numbers. */
export interface RopeForwardOperands {
  /** (B*T, (H + 2G) * E) float32 or bfloat16: all heads of q, then of k, then of v. */
  qkv: Tensor;
  /** (positions, E) float32: E/2 cosines, then E/2 sines a row, as `ropeTable` makes it. */
  cosSin: Tensor;
  /** (B) int32: token that each sequence is written from. @default zeros */
  start?: Tensor | null;
  /** (B, H, T, E) of qkv's dtype: overwritten. */
  q: Tensor;
  /** (B, G, capacity, E): written from `start` on; capacity is T where there is no cache. */
  k: Tensor;
  /** As k. */
  v: Tensor;
  /** (B, G, capacity) float32, where k is int8. */
  kScale?: Tensor | null;
  /** As kScale. */
  vScale?: Tensor | null;
}

/** Operands of {@linkcode ropeBackward}; all but `cosSin` share their dtype. */
export interface RopeBackwardOperands {
  /** (B, H, T, E). */
  dq: Tensor;
  /** (B, G, T, E). */
  dk: Tensor;
  /** (B, G, T, E). */
  dv: Tensor;
  /** (positions, E) float32: the forward pass's. */
  cosSin: Tensor;
  /** (B*T, (H + 2G) * E): overwritten. */
  dqkv: Tensor;
}

/**
 * `qkv` (B*T, (H + 2G) * E) -> `q` (B, H, T, E) and, rotated too, `k` and, as it is, `v` (B, G, capacity, E), written from
 * token `start[b]` on. Halves are rotated, by the angles of token `start[b] + t`.
 *
 * `k` and `v` are of qkv's dtype; bfloat16 on the CPU too; or int8, each token's head with a scale of its own in `kScale` and
 * `vScale` (B, G, capacity) float32.
 *
 * `cosSin` (positions, E) float32 holds E/2 cosines, then E/2 sines a row. `start` (B) int32 may be left out: zeros.
 */
export function ropeForward(operands: RopeForwardOperands): void {
  const op = "tb_rope_forward";
  const { qkv, cosSin, start, q, k, v, kScale, vScale } = operands;
  const [B, H, T, E] = sizesOf(q, { op, dimensions: "B, H, T, E" });
  const [, G, capacity] = sizesOf(k, { op, dimensions: "B, G, capacity, E" });
  const [positions] = sizesOf(cosSin, { op, dimensions: "positions, E" });
  const dtype = qkv.dtype;
  expectTensor(qkv, { op, shape: [B * T, (H + 2 * G) * E] });
  expectTensor(cosSin, { op, dtype: "float32", shape: [positions, E] });
  expectOptional(start, { op, dtype: "int32", shape: [B] });
  expectTensor(q, { op, dtype });
  expectCache({ k, v, kScale, vScale }, { op, shape: [B, G, capacity, E] });
  const device = qkv.device;
  device.check(
    device.symbols.tb_rope_forward(
      device.context,
      activationCode(dtype),
      qkv.address,
      cosSin.address,
      addressOf(start),
      q.address,
      cacheCode(k.dtype),
      k.address,
      v.address,
      addressOf(kScale),
      addressOf(vScale),
      BigInt(B),
      BigInt(T),
      BigInt(H),
      BigInt(G),
      BigInt(E),
      BigInt(capacity),
      BigInt(positions),
    ),
    op,
  );
}

/** `dq` (B, H, T, E), `dk` and `dv` (B, G, T, E) -> `dqkv` (B*T, (H + 2G) * E), for sequences that start at token 0. */
export function ropeBackward(operands: RopeBackwardOperands): void {
  const op = "tb_rope_backward";
  const { dq, dk, dv, cosSin, dqkv } = operands;
  const [B, H, T, E] = sizesOf(dq, { op, dimensions: "B, H, T, E" });
  const [, G] = sizesOf(dk, { op, dimensions: "B, G, T, E" });
  const [positions] = sizesOf(cosSin, { op, dimensions: "positions, E" });
  const dtype = dqkv.dtype;
  expectTensor(dq, { op, dtype });
  expectTensor(dk, { op, dtype, shape: [B, G, T, E] });
  expectTensor(dv, { op, dtype, shape: [B, G, T, E] });
  expectTensor(cosSin, { op, dtype: "float32", shape: [positions, E] });
  expectTensor(dqkv, { op, shape: [B * T, (H + 2 * G) * E] });
  const device = dqkv.device;
  device.check(
    device.symbols.tb_rope_backward(
      device.context,
      activationCode(dtype),
      dq.address,
      dk.address,
      dv.address,
      cosSin.address,
      dqkv.address,
      BigInt(B),
      BigInt(T),
      BigInt(H),
      BigInt(G),
      BigInt(E),
      BigInt(positions),
    ),
    op,
  );
}
