/**
 * A pseudo-random order of 0 … n-1 that is computed element by element and never stored.
 *
 * @module
 */
import { foldKey, mixBits } from "./hash.ts";

const ROUNDS = 8;

/**
 * A bijection of 0 … n-1 keyed by numbers: an alternating Feistel network over the smallest power of two that holds
 * n, walked again wherever it leaves the range (at most two rounds of it on average). After Black and Rogaway,
 * "Ciphers with Arbitrary Finite Domains" (2002), with a mixing hash in place of a cipher.
 */
export class Permutation {
  /** How many indices it orders. */
  readonly size: number;
  readonly #keys = new Uint32Array(ROUNDS);
  readonly #leftSize: number;
  readonly #rightSize: number;

  /**
   * @param size From 1 to 2^52.
   * @param key Numbers that choose the order, each an integer from 0 to 2^53 - 1.
   */
  constructor(size: number, key: readonly number[]) {
    if (!Number.isSafeInteger(size) || size < 1 || size > 2 ** 52) {
      throw new RangeError(
        `Cannot order the indices below ${size} as their count is an integer from 1 to 2^52`,
      );
    }
    this.size = size;
    const bits = Math.ceil(Math.log2(size));
    this.#leftSize = 2 ** (bits >> 1);
    this.#rightSize = 2 ** (bits - (bits >> 1));
    let state = foldKey(key);
    for (let round = 0; round < ROUNDS; round++) {
      state = mixBits(state + 0x9e3779b9);
      this.#keys[round] = state;
    }
  }

  /** The index at a place of the order; both from 0 to size - 1. */
  at(place: number): number {
    if (!(place >= 0 && place < this.size)) {
      throw new RangeError(`Cannot take place ${place} of an order of ${this.size} indices`);
    }
    let index = place;
    do index = this.#encrypt(index); while (index >= this.size);
    return index;
  }

  #encrypt(value: number): number {
    let leftSize = this.#leftSize;
    let rightSize = this.#rightSize;
    let left = Math.floor(value / rightSize);
    let right = value % rightSize;
    for (let round = 0; round < ROUNDS; round++) {
      const hash = mixBits(right ^ this.#keys[round]!);
      // The halves change places, and with them their sizes; an even number of rounds brings these back.
      const mixed = (left ^ (hash & (leftSize - 1))) >>> 0;
      left = right;
      right = mixed;
      [leftSize, rightSize] = [rightSize, leftSize];
    }
    return left * rightSize + right;
  }
}
