/**
 * Tokens a second over the last steps.
 *
 * @module
 */

/** A moving mean of speed: tokens over time of the steps in a window, so that long steps weigh more. */
export class ThroughputMeter {
  readonly #window: number;
  readonly #warmup: number;
  readonly #tokens: number[] = [];
  readonly #ms: number[] = [];
  readonly #steps: number[] = [];
  #seen = 0;
  #totalTokens = 0;
  #totalMs = 0;

  /**
   * @param options.window Measurements that count. @default 20
   * @param options.warmup First ones that don't: they pay for page faults and caches. @default 1
   */
  constructor(options: { window?: number; warmup?: number } = {}) {
    this.#window = options.window ?? 20;
    this.#warmup = options.warmup ?? 1;
    if (!Number.isSafeInteger(this.#window) || this.#window < 1) {
      throw new RangeError(
        `Cannot measure speed as the window must be a whole number above 0: current value is ${this.#window}`,
      );
    }
  }

  /** Adds a step, or `steps` of them that were measured together, of `tokens` that took `ms`. */
  add(measured: { tokens: number; ms: number; steps?: number }): void {
    const { tokens, ms, steps = 1 } = measured;
    this.#totalTokens += tokens;
    this.#totalMs += ms;
    if (this.#seen++ < this.#warmup) return;
    this.#tokens.push(tokens);
    this.#ms.push(ms);
    this.#steps.push(steps);
    if (this.#tokens.length > this.#window) {
      this.#tokens.shift();
      this.#ms.shift();
      this.#steps.shift();
    }
  }

  /** Tokens a second over the window; over the warm-up itself while there is nothing else; 0 before any step. */
  get tokensPerS(): number {
    const rate = perSecond(sum(this.#tokens), sum(this.#ms));
    return rate === 0 ? this.averageTokensPerS : rate;
  }

  /** Mean ms a step over the window, 0 before it has any. */
  get stepMs(): number {
    return this.#ms.length === 0 ? 0 : sum(this.#ms) / sum(this.#steps);
  }

  /** Tokens a second over everything that was added. */
  get averageTokensPerS(): number {
    return perSecond(this.#totalTokens, this.#totalMs);
  }

  /** Tokens that were added. */
  get totalTokens(): number {
    return this.#totalTokens;
  }
}

function perSecond(tokens: number, ms: number): number {
  return ms > 0 ? (1000 * tokens) / ms : 0;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
