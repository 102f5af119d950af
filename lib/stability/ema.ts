/**
 * An exponential moving average as plain data.
 *
 * @module
 */

/** A moving average; `value` is 0 while `count` is. */
export interface Ema {
  readonly value: number;
  /** Values that went in. */
  readonly count: number;
}

/** A moving average of nothing. */
export const EMPTY_EMA: Ema = { value: 0, count: 0 };

/** The average with one more value; the first one is taken as it is. */
export function addToEma(ema: Ema, value: number, decay: number): Ema {
  return {
    value: ema.count === 0 ? value : decay * ema.value + (1 - decay) * value,
    count: ema.count + 1,
  };
}
