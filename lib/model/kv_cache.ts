/**
 * Keys and values of the tokens a model has seen, so that each new token costs one step.
 *
 * @module
 */

import type { Device } from "../ffi/device.ts";
import { Arena } from "../tensor/arena.ts";
import type { CacheDType } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { BitNetConfig } from "./config.ts";

/** Keys and values of one layer, each (B, G, slots, E); int8 with scales (B, G, slots) float32, null for other dtypes. */
export interface CachedLayer {
  readonly k: Tensor;
  readonly v: Tensor;
  readonly kScale: Tensor | null;
  readonly vScale: Tensor | null;
}

/** What a pass needs of a cache: all of a {@linkcode KvCache}, or one of its sequences. */
export interface PassCache {
  readonly sequences: number;
  /** Tokens that a sequence may hold. */
  readonly capacity: number;
  readonly layers: readonly CachedLayer[];
  /** (B) int32: tokens each sequence holds, which is where the next one goes. */
  readonly start: Tensor;
  /** Notes `tokens` more in every sequence. Throws `RangeError` past the capacity. */
  advance(tokens: number): void;
}

/** Slots of a sequence's head are a multiple of this, so that every sequence begins at a whole cache line. */
const SLOTS_AT_ONCE = 64;

/** Cached keys and values of every layer, each (B, G, slots, E), and how many tokens each sequence holds. */
export class KvCache implements PassCache, Disposable {
  readonly sequences: number;
  readonly capacity: number;
  readonly layers: readonly CachedLayer[];
  readonly start: Tensor;
  readonly #arena = new Arena("KV cache");
  readonly #lengths: Int32Array<ArrayBuffer>;

  constructor(
    config: BitNetConfig,
    options: { sequences: number; capacity: number; dtype: CacheDType },
  ) {
    const { sequences, capacity, dtype } = options;
    this.sequences = sequences;
    this.capacity = capacity;
    this.#lengths = new Int32Array(sequences);
    const slots = SLOTS_AT_ONCE * Math.ceil(capacity / SLOTS_AT_ONCE);
    const heads = [sequences, config.numKvHeads, slots];
    const scale = (name: string) =>
      dtype === "int8" ? this.#arena.tensor(`${name}.scale`, "float32", heads) : null;
    this.layers = Array.from({ length: config.numLayers }, (_, layer) => ({
      k: this.#arena.tensor(`cache.${layer}.k`, dtype, [...heads, config.headDim]),
      v: this.#arena.tensor(`cache.${layer}.v`, dtype, [...heads, config.headDim]),
      kScale: scale(`cache.${layer}.k`),
      vScale: scale(`cache.${layer}.v`),
    }));
    this.start = this.#arena.tensor("cache.start", "int32", [sequences]);
  }

  /** Bytes planned. */
  get bytes(): number {
    return this.#arena.bytes;
  }

  /** Tokens that sequence `index` holds. Throws `RangeError` where there is none of that index. */
  length(index = 0): number {
    this.#requireSequence(index);
    return this.#lengths[index]!;
  }

  /** Takes the memory, empty. */
  commit(device: Device): this {
    this.#arena.commit(device);
    return this;
  }

  /** Sequence `index` alone, in the same memory. Throws `RangeError` where there is none. */
  sequence(index: number): PassCache {
    this.#requireSequence(index);
    const only = (tensor: Tensor) => tensor.rows(index, index + 1);
    return {
      sequences: 1,
      capacity: this.capacity,
      layers: this.layers.map(({ k, v, kScale, vScale }) => ({
        k: only(k),
        v: only(v),
        kScale: kScale && only(kScale),
        vScale: vScale && only(vScale),
      })),
      start: only(this.start),
      advance: (tokens) => this.#advance([index], tokens),
    };
  }

  /**
   * Notes `tokens` more in every sequence that `which` holds; in all without it. Throws `RangeError` past the capacity of one of
   * them; then every sequence stays as it was.
   */
  advance(tokens: number, which?: readonly number[]): void {
    this.#advance(which ?? [...this.#lengths.keys()], tokens);
  }

  /** Forgets every token, or those of sequence `index`. Throws `RangeError` where there is none of that index. */
  reset(index?: number): void {
    if (index === undefined) {
      this.#lengths.fill(0);
    } else {
      this.#requireSequence(index);
      this.#lengths[index] = 0;
    }
    this.start.upload(this.#lengths);
  }

  [Symbol.dispose](): void {
    this.#arena[Symbol.dispose]();
  }

  #advance(which: readonly number[], tokens: number): void {
    for (const index of which) {
      this.#requireSequence(index);
      const length = this.#lengths[index]! + tokens;
      if (length > this.capacity) {
        throw new RangeError(
          `Cannot cache ${length} tokens as the KV cache holds ${this.capacity}: use fewer tokens or a larger cache`,
        );
      }
    }
    for (const index of which) this.#lengths[index]! += tokens;
    this.start.upload(this.#lengths);
  }

  #requireSequence(index: number): void {
    if (Number.isInteger(index) && index >= 0 && index < this.sequences) return;
    throw new RangeError(
      `Cannot take a sequence of the KV cache as its index must be from 0 to ${
        this.sequences - 1
      }: current value is ${index}`,
    );
  }
}
