/**
 * How far a value lies above the recent ones, by median and median absolute deviation: neither moves for a single
 * outlier, so that one spike does not hide the next.
 *
 * @module
 */

/** Makes the median absolute deviation of a normal distribution its standard deviation. */
const MAD_TO_STD = 1.4826;
/** Least deviation, as a share of the median: below it a window of nearly equal values would call everything a spike. */
const LEAST_DEVIATION = 0.01;

/** A value beside a window that does not hold it. */
export interface RobustScore {
  /** Robust standard deviations above the median, negative below it. */
  readonly score: number;
  readonly median: number;
}

/** Scores a value against earlier ones, which must be at least one. */
export function robustScore(window: readonly number[], value: number): RobustScore {
  const center = median(window);
  const spread = MAD_TO_STD * median(window.map((item) => Math.abs(item - center)));
  const deviation = Math.max(spread, LEAST_DEVIATION * Math.abs(center), Number.MIN_VALUE);
  return { score: (value - center) / deviation, median: center };
}

/** The window with one more value and, once it is full, without its oldest. */
export function addToWindow(window: readonly number[], value: number, size: number): number[] {
  return [...window, value].slice(-size);
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
