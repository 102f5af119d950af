/**
 * The random numbers that sampling draws: small, fast, and the same on every machine for the same seed.
 *
 * @module
 */

/**
 * xoshiro128++ 1.0 of Blackman and Vigna (arXiv:1805.01407), its state filled from a seed by a Weyl sequence through the
 * finaliser of MurmurHash3. Not for secrets.
 */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  /** `seed`: a whole number from 0 to 2^53 - 1. Throws `RangeError` for another. */
  constructor(seed: number) {
    if (!Number.isSafeInteger(seed) || seed < 0) {
      throw new RangeError(
        `Cannot seed random numbers as the seed must be a whole number from 0 to 2^53 - 1: current value is ${seed}`,
      );
    }
    const low = seed >>> 0;
    const high = Math.floor(seed / 0x1_0000_0000);
    this.#a = mix(low + 0x9e3779b9);
    this.#b = mix(high ^ mix(low + 0x3c6ef372));
    this.#c = mix(this.#a + 0xdaa66d2b);
    this.#d = mix(this.#b + 0x78dde6e4) | 1; // a state of four zeros would stay one
  }

  /** The next 32 bits, as a whole number from 0. */
  nextUint32(): number {
    const sum = (this.#a + this.#d) | 0;
    const result = (((sum << 7) | (sum >>> 25)) + this.#a) >>> 0;
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = (this.#d << 11) | (this.#d >>> 21);
    return result;
  }

  /** The next number from 0 (inclusive) to 1 (exclusive), with 53 random bits. */
  next(): number {
    const high = this.nextUint32() >>> 5;
    const low = this.nextUint32() >>> 6;
    return (high * 0x4000000 + low) / 2 ** 53;
  }
}

function mix(value: number): number {
  let bits = value | 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) | 0;
}
