/** Fresh random inputs whose seed is told when a test fails. */

/** A small deterministic generator (SplitMix32); `TITANBIT_TEST_SEED` repeats a failed run. */
export class Random {
  readonly seed: number;
  #state: number;
  #spare: number | null = null;

  constructor(seed?: number) {
    const given = Deno.env.get("TITANBIT_TEST_SEED");
    this.seed = seed ?? (given ? Number(given) : crypto.getRandomValues(new Uint32Array(1))[0]!);
    this.#state = this.seed;
  }

  /** A whole number in 0 .. 2^32 - 1. */
  word(): number {
    this.#state = (this.#state + 0x9e3779b9) | 0;
    let z = this.#state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  }

  /** In [0, 1). */
  uniform(): number {
    return this.word() / 2 ** 32;
  }

  /** A whole number from `low` to `high`, both included. */
  integer(low: number, high: number): number {
    return low + Math.floor(this.uniform() * (high - low + 1));
  }

  /** One standard normal number (Box-Muller). */
  normal(): number {
    if (this.#spare !== null) {
      const spare = this.#spare;
      this.#spare = null;
      return spare;
    }
    const radius = Math.sqrt(-2 * Math.log((this.word() + 0.5) / 2 ** 32));
    const angle = 2 * Math.PI * this.uniform();
    this.#spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  /** `n` float32 of N(0, std²). */
  normals(n: number, std = 1): Float32Array<ArrayBuffer> {
    return Float32Array.from({ length: n }, () => std * this.normal());
  }

  /** `n` int8 from `low` to `high`. */
  int8s(n: number, low = -128, high = 127): Int8Array<ArrayBuffer> {
    return Int8Array.from({ length: n }, () => this.integer(low, high));
  }

  /** `n` int32 from `low` to `high`. */
  int32s(n: number, low: number, high: number): Int32Array<ArrayBuffer> {
    return Int32Array.from({ length: n }, () => this.integer(low, high));
  }
}

/** Runs a test's body with fresh random numbers; the message of what it throws names the seed. */
export function withRandom(body: (random: Random) => void): () => void {
  return () => {
    const random = new Random();
    try {
      body(random);
    } catch (error) {
      if (error instanceof Error) {
        error.message += `\n(repeat with TITANBIT_TEST_SEED=${random.seed})`;
      }
      throw error;
    }
  };
}
