/**
 * Timing of rivals side by side.
 *
 * @module
 */

/** What one side of a comparison took. */
export interface Timing {
  /** Median over the rounds, microseconds a call. */
  medianUs: number;
  /** Half the distance between the quartiles, as a fraction of the median. */
  spread: number;
}

/** Options of {@linkcode alternate}. */
export interface AlternateOptions {
  /** Rounds; each measures every side once. */
  repeat: number;
  /** Milliseconds to let the other side's idle threads go to sleep before a side is measured. @default 0 */
  pauseMs?: number;
  /** Milliseconds that a side runs, not timed, before it is measured: its threads wake up and spread over the cores. @default 0 */
  warmMs?: number;
  /** Milliseconds that one measurement should last at least. @default 5 */
  sampleMs?: number;
  /** Milliseconds since some moment. @default performance.now */
  now?: () => number;
}

/** Timings of sides that took turns, and the first side's speed against each. */
export interface Comparison {
  timings: Timing[];
  /** Median over the rounds of this side's time over the first side's time in the same round. */
  ratios: number[];
}

/**
 * Measures every side once a round, so that whatever slows the machine down meets all of them.
 *
 * Each measurement starts with calls that are not timed, one at least (caches, sleeping threads), then times as many calls as
 * last `sampleMs`.
 */
export async function alternate(
  sides: readonly (() => void)[],
  options: AlternateOptions,
): Promise<Comparison> {
  const { repeat, pauseMs = 0, warmMs = 0, sampleMs = 5, now = () => performance.now() } = options;
  const time = (side: () => void, calls: number) => {
    const start = now();
    for (let call = 0; call < calls; call++) side();
    return (now() - start) / calls; // ms a call
  };
  const calls = sides.map((side) => {
    side();
    return Math.max(1, Math.ceil(sampleMs / Math.max(1e-4, time(side, 1))));
  });
  const rounds: number[][] = sides.map(() => []);
  for (let round = 0; round < repeat; round++) {
    for (const [index, side] of sides.entries()) {
      if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
      const warm = now() + warmMs;
      do side(); while (now() < warm);
      rounds[index]!.push(time(side, calls[index]!));
    }
  }
  return {
    timings: rounds.map((times) => ({
      medianUs: 1000 * quantile(times, 0.5),
      spread: (quantile(times, 0.75) - quantile(times, 0.25)) / 2 / quantile(times, 0.5),
    })),
    ratios: rounds.map((times) => quantile(times.map((ms, i) => ms / rounds[0]![i]!), 0.5)),
  };
}

/** Value below which a fraction of the numbers lies, interpolated. */
export function quantile(values: readonly number[], fraction: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = fraction * (sorted.length - 1);
  const below = Math.floor(at);
  const low = sorted[below] ?? NaN;
  return low + (at - below) * ((sorted[below + 1] ?? low) - low);
}
