/**
 * Causal attention with grouped keys and values, without the T x T matrix.
 *
 * @module
 */

import { activationCode, cacheCode } from "../tensor/dtype.ts";
import { expectTensor, type Tensor } from "../tensor/tensor.ts";
import { addressOf, expectCache, sizesOf } from "./operand.ts";

/** Operands of {@linkcode attentionForward}: B sequences of T tokens, H query and G key/value heads of E numbers; float32 or bfloat16. */
export interface AttentionForwardOperands {
  /** (B, H, T, E). */
  q: Tensor;
  /** (B, G, T, E). */
  k: Tensor;
  /** (B, G, T, E). */
  v: Tensor;
  /** (B*T, H*E): overwritten. */
  o: Tensor;
  /** (B, H, T) float32: log of each row's sum of exponentials, for the backward pass. */
  lse: Tensor;
  /** Factor of q kᵀ, E^-0.5 in most models. */
  scale: number;
}

/** Operands of {@linkcode attentionBackward}. */
export interface AttentionBackwardOperands extends AttentionForwardOperands {
  /** (B*T, H*E): gradient of o. */
  dout: Tensor;
  /** (B, H, T) float32: scratch. */
  delta: Tensor;
  /** (B, H, T, E): overwritten. */
  dq: Tensor;
  /** (B, G, T, E): overwritten. */
  dk: Tensor;
  /** (B, G, T, E): overwritten. */
  dv: Tensor;
}

/** Operands of {@linkcode attentionDecode}; letters as in {@linkcode AttentionForwardOperands}. */
export interface AttentionDecodeOperands {
  /** (B) int32: tokens that the caches held before. */
  start: Tensor;
  /** (B, H, T, E). */
  q: Tensor;
  /** (B, G, capacity, E) of q's dtype, int8, or on the CPU bfloat16. */
  kCache: Tensor;
  /** As kCache. */
  vCache: Tensor;
  /** (B, G, capacity) float32, where the caches are int8. */
  kScale?: Tensor | null;
  /** As kScale. */
  vScale?: Tensor | null;
  /** (B*T, H*E): overwritten. */
  o: Tensor;
  /** Factor of q kᵀ. */
  scale: number;
}

/** Operands of {@linkcode ropeAttentionDecode}. */
export interface RopeAttentionDecodeOperands extends AttentionDecodeOperands {
  /** (B*T, (H + 2G) * E): all heads of q, then of k, then of v. */
  qkv: Tensor;
  /** (positions, E) float32: E/2 cosines, then E/2 sines a row. */
  cosSin: Tensor;
}

/**
 * `o` (B*T, H*E) = softmax(scale * q kᵀ, causal) v of `q` (B, H, T, E), `k` and `v` (B, G, T, E). `lse` (B, H, T) float32
 * receives the log of each row's sum of exponentials. Query head h reads key/value head h / (H / G).
 *
 * Throws `NativeError` where G does not divide H or E is above 256.
 */
export function attentionForward(operands: AttentionForwardOperands): void {
  const op = "tb_attention_forward";
  const { q, k, v, o, lse, scale } = operands;
  const [B, H, T, E] = sizesOf(q, { op, dimensions: "B, H, T, E" });
  const [, G] = sizesOf(k, { op, dimensions: "B, G, T, E" });
  const dtype = q.dtype;
  expectTensor(k, { op, dtype, shape: [B, G, T, E] });
  expectTensor(v, { op, dtype, shape: [B, G, T, E] });
  expectTensor(o, { op, dtype, shape: [B * T, H * E] });
  expectTensor(lse, { op, dtype: "float32", shape: [B, H, T] });
  const device = q.device;
  device.check(
    device.symbols.tb_attention_forward(
      device.context,
      activationCode(dtype),
      q.address,
      k.address,
      v.address,
      o.address,
      lse.address,
      scale,
      BigInt(B),
      BigInt(T),
      BigInt(H),
      BigInt(G),
      BigInt(E),
    ),
    op,
  );
}

/**
 * `dout` (B*T, H*E) and the forward pass's tensors -> `dq` (B, H, T, E), `dk` and `dv` (B, G, T, E), all overwritten.
 * `delta` (B, H, T) float32 is scratch.
 */
export function attentionBackward(operands: AttentionBackwardOperands): void {
  const op = "tb_attention_backward";
  const { dout, q, k, v, o, lse, delta, dq, dk, dv, scale } = operands;
  const [B, H, T, E] = sizesOf(q, { op, dimensions: "B, H, T, E" });
  const [, G] = sizesOf(k, { op, dimensions: "B, G, T, E" });
  const dtype = q.dtype;
  for (const tensor of [dout, o]) expectTensor(tensor, { op, dtype, shape: [B * T, H * E] });
  for (const tensor of [k, v, dk, dv]) expectTensor(tensor, { op, dtype, shape: [B, G, T, E] });
  for (const tensor of [lse, delta]) {
    expectTensor(tensor, { op, dtype: "float32", shape: [B, H, T] });
  }
  expectTensor(dq, { op, dtype, shape: [B, H, T, E] });
  const device = q.device;
  device.check(
    device.symbols.tb_attention_backward(
      device.context,
      activationCode(dtype),
      dout.address,
      q.address,
      k.address,
      v.address,
      o.address,
      lse.address,
      delta.address,
      dq.address,
      dk.address,
      dv.address,
      scale,
      BigInt(B),
      BigInt(T),
      BigInt(H),
      BigInt(G),
      BigInt(E),
    ),
    op,
  );
}

/**
 * Prefill and decoding: `o` (B*T, H*E) of `q` (B, H, T, E) against `kCache` and `vCache` (B, G, capacity, E), where query t
 * of sequence b sees the tokens 0 .. `start[b]` + t. `start` (B) int32. The caches are of q's dtype; bfloat16 on the
 * CPU too; or int8, each token's head times its scale of `kScale` and `vScale` (B, G, capacity) float32.
 */
export function attentionDecode(operands: AttentionDecodeOperands): void {
  const op = "tb_attention_decode";
  const { q, kCache, vCache, kScale, vScale, start, o, scale } = operands;
  const [B, H, T, E] = sizesOf(q, { op, dimensions: "B, H, T, E" });
  const [, G, capacity] = sizesOf(kCache, { op, dimensions: "B, G, capacity, E" });
  const dtype = q.dtype;
  expectCache({ k: kCache, v: vCache, kScale, vScale }, { op, shape: [B, G, capacity, E] });
  expectTensor(start, { op, dtype: "int32", shape: [B] });
  expectTensor(o, { op, dtype, shape: [B * T, H * E] });
  const device = q.device;
  device.check(
    device.symbols.tb_attention_decode(
      device.context,
      activationCode(dtype),
      q.address,
      cacheCode(kCache.dtype),
      kCache.address,
      vCache.address,
      addressOf(kScale),
      addressOf(vScale),
      start.address,
      o.address,
      scale,
      BigInt(B),
      BigInt(T),
      BigInt(H),
      BigInt(G),
      BigInt(E),
      BigInt(capacity),
    ),
    op,
  );
}

/**
 * `ropeForward` of `qkv` (B*T, (H + 2G) * E) into the caches from `start` on, then {@linkcode attentionDecode} over them, to the same
 * bits, with the tensors of both. Of `q` (B, H, T, E) nothing can be said afterwards. A token of each sequence is one kernel on a card.
 *
 * Throws what either of the two does.
 */
export function ropeAttentionDecode(operands: RopeAttentionDecodeOperands): void {
  const op = "tb_rope_attention_decode";
  const { qkv, cosSin, start, q, kCache, vCache, kScale, vScale, o, scale } = operands;
  const [B, H, T, E] = sizesOf(q, { op, dimensions: "B, H, T, E" });
  const [, G, capacity] = sizesOf(kCache, { op, dimensions: "B, G, capacity, E" });
  const [positions] = sizesOf(cosSin, { op, dimensions: "positions, E" });
  const dtype = qkv.dtype;
  expectTensor(qkv, { op, shape: [B * T, (H + 2 * G) * E] });
  expectTensor(cosSin, { op, dtype: "float32", shape: [positions, E] });
  expectTensor(start, { op, dtype: "int32", shape: [B] });
  expectTensor(q, { op, dtype });
  expectCache({ k: kCache, v: vCache, kScale, vScale }, { op, shape: [B, G, capacity, E] });
  expectTensor(o, { op, dtype, shape: [B * T, H * E] });
  const device = qkv.device;
  device.check(
    device.symbols.tb_rope_attention_decode(
      device.context,
      activationCode(dtype),
      qkv.address,
      cosSin.address,
      start.address,
      q.address,
      cacheCode(kCache.dtype),
      kCache.address,
      vCache.address,
      addressOf(kScale),
      addressOf(vScale),
      o.address,
      scale,
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
