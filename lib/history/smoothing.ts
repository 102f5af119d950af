/**
 * A moving average whose first values aren't drawn to a made-up start.
 *
 * @module
 */

/** What an average knows; the next value goes on from it. */
export interface SmoothState {
  readonly sum: number;
  readonly weight: number;
}

/**
 * Exponential moving average over about `window` values, divided by the weight that its values have so far. Values that
 * aren't finite change nothing.
 */
export function smooth(
  values: Float32Array | Float64Array,
  window: number,
): { values: Float64Array; state: SmoothState } {
  const rate = 2 / (Math.max(1, window) + 1);
  const smoothed = new Float64Array(values.length);
  let [sum, weight] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (Number.isFinite(value)) {
      sum += rate * (value - sum);
      weight += rate * (1 - weight);
    }
    smoothed[i] = weight === 0 ? NaN : sum / weight;
  }
  return { values: smoothed, state: { sum, weight } };
}
