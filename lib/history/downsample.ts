/**
 * Fewer points that look the same: minima, maxima and spikes stay.
 *
 * @module
 */

import type { StepSeries } from "./step_series.ts";

/** Rows as columns of numbers; `null` where a row has none. */
export type Columns = Record<string, (number | null)[]>;

/** Which rows, and how many points of them. */
export interface Range {
  /** First row. */
  readonly from: number;
  /** Row after the last. */
  readonly to: number;
  /** Most points. */
  readonly points: number;
}

/**
 * Up to `points` rows of `[from, to)` of a series, with the columns of `extra` beside its own.
 *
 * Where there are more rows they are cut into `points / 2` buckets of equal counts, two rows or more. A bucket gives the steps of its
 * first and its last row, and at those, of each column, its smallest and its largest value, in the order in which they
 * came; so every extreme value of every column is kept as it is, at most a bucket's width beside its step.
 */
export function downsample(
  series: StepSeries,
  { from, to, points }: Range,
  extra: ReadonlyMap<string, Float64Array> = new Map(),
): Columns {
  const rows = Math.max(0, to - from);
  const columns: Columns = {};
  const sources = [
    ...series.names.map((name) => [name, series.get(name)!] as const),
    ...extra,
  ];
  if (rows <= points) {
    for (const [name, source] of sources) {
      columns[name] = Array.from(source.subarray(from, to), (value) => written(name, value));
    }
    return columns;
  }
  const buckets = Math.max(1, Math.floor(points / 2));
  const edge = (bucket: number) => from + Math.floor(rows * bucket / buckets);
  for (const [name, source] of sources) {
    const picked = new Array<number | null>(2 * buckets);
    for (let bucket = 0; bucket < buckets; bucket++) {
      const [start, end] = [edge(bucket), edge(bucket + 1)];
      const [first, last] = name === "step"
        ? [source[start]!, source[end - 1]!]
        : extremes(source, start, end);
      picked[2 * bucket] = written(name, first);
      picked[2 * bucket + 1] = written(name, last);
    }
    columns[name] = picked;
  }
  return columns;
}

/** Smallest and largest of `[start, end)`, in the order in which they come; NaN where there are none. */
function extremes(
  source: Float32Array | Float64Array,
  start: number,
  end: number,
): [number, number] {
  let [low, high, lowAt, highAt] = [Infinity, -Infinity, -1, -1];
  for (let i = start; i < end; i++) {
    const value = source[i]!;
    if (value < low) [low, lowAt] = [value, i];
    if (value > high) [high, highAt] = [value, i];
  }
  if (lowAt === -1) return [NaN, NaN];
  return lowAt <= highAt ? [low, high] : [high, low];
}

/** As JSON has it: whole numbers as they are, others with the digits that single precision holds. */
function written(name: string, value: number): number | null {
  if (!Number.isFinite(value)) return null;
  return name === "step" || name === "tokens" ? value : Number(value.toPrecision(7));
}
