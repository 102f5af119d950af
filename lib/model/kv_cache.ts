/**
 * Keys and values of the tokens a model has seen, so that each new token costs one step.
 *
 * @module
 */

import type { Device } from "../ffi/device.ts";
import { Arena } from "../tensor/arena.ts";
import type { DType } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { BitNetConfig } from "./config.ts";

/** Cached keys and values of every layer, each (B, G, capacity, E), and how many tokens each sequence holds. */
export class KvCache implements Disposable {
  readonly sequences: number;
  readonly capacity: number;
  readonly layers: readonly { readonly k: Tensor; readonly v: Tensor }[];
  /** (B) int32: tokens each sequence holds, which is where the next one goes. */
  readonly start: Tensor;
  readonly #arena = new Arena("KV cache");
  readonly #lengths: Int32Array<ArrayBuffer>;

  constructor(
    config: BitNetConfig,
    options: { sequences: number; capacity: number; dtype: DType },
  ) {
    this.sequences = options.sequences;
    this.capacity = options.capacity;
    this.#lengths = new Int32Array(options.sequences);
    const shape = [options.sequences, config.numKvHeads, options.capacity, config.headDim];
    this.layers = Array.from({ length: config.numLayers }, (_, layer) => ({
      k: this.#arena.tensor(`cache.${layer}.k`, options.dtype, shape),
      v: this.#arena.tensor(`cache.${layer}.v`, options.dtype, shape),
    }));
    this.start = this.#arena.tensor("cache.start", "int32", [options.sequences]);
  }

  /** Bytes planned. */
  get bytes(): number {
    return this.#arena.bytes;
  }

  /** Tokens that sequence `index` holds. */
  length(index = 0): number {
    return this.#lengths[index] ?? 0;
  }

  /** Takes the memory, empty. */
  commit(device: Device): this {
    this.#arena.commit(device);
    return this;
  }

  /** Notes `tokens` more in every sequence. Throws `RangeError` past the capacity. */
  advance(tokens: number): void {
    for (const [index, length] of this.#lengths.entries()) {
      if (length + tokens > this.capacity) {
        throw new RangeError(
          `Cannot cache ${
            length + tokens
          } tokens as the KV cache holds ${this.capacity}: use fewer tokens or a larger cache`,
        );
      }
      this.#lengths[index] = length + tokens;
    }
    this.start.upload(this.#lengths);
  }

  /** Forgets every token. */
  reset(): void {
    this.#lengths.fill(0);
    this.start.upload(this.#lengths);
  }

  [Symbol.dispose](): void {
    this.#arena[Symbol.dispose]();
  }
}
