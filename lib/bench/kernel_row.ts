/**
 * A kernel's measured row, and rows as a table for people.
 *
 * @module
 */

import { formatTable } from "../cli/format.ts";
import type { LaunchTiming } from "./launch_timing.ts";
import { type Arithmetic, limitOf, type Roofs } from "./roofs.ts";

/** What was timed. */
export interface KernelWork {
  /** What is computed, such as `2048 x 2048 x 2048`: rows of equal shape are rivals. */
  readonly shape: string;
  /** Who computes it. */
  readonly kernel: string;
  /** Multiplications and additions of a launch. */
  readonly operations: number;
  /** Bytes of operands and results, each counted once. */
  readonly bytes: number;
  readonly arithmetic: Arithmetic;
  /**
   * Largest error of the elements looked at in FP64, over the sum of the magnitudes of the element's terms: for results of 16 bits
   * mostly their rounding.
   */
  readonly max_error: number;
  /** cuBLASLt: which of the algorithms that it offered was the fastest, counted from 0, and how many it then refused to run. */
  readonly algorithm?: {
    readonly chosen: number;
    readonly offered: number;
    readonly refused: number;
  };
}

/** A measured row; the names are those of the JSON. */
export interface KernelRow extends KernelWork, LaunchTiming {
  /** 10^12 operations a second. */
  readonly top_per_s: number;
  readonly gbyte_per_s: number;
  /** cuBLASLt's bfloat16 time of the same shape over this one: above 1 is faster. Null where it was not measured. */
  readonly speedup: number | null;
  /** The shortest time that memory and arithmetic allow over the time taken. Null where the card's peak isn't known. */
  readonly share_of_limit: number | null;
  readonly limit: "memory" | "compute" | null;
}

/** Rates and shares of a time; `rivalUs`: the median of cuBLASLt's bfloat16 product. */
export function kernelRow(
  work: KernelWork,
  timing: LaunchTiming,
  against: { roofs: Roofs; rivalUs: number | null },
): KernelRow {
  const limit = limitOf(against.roofs, work);
  return {
    ...work,
    ...timing,
    top_per_s: work.operations / timing.us / 1e6,
    gbyte_per_s: work.bytes / timing.us / 1e3,
    speedup: against.rivalUs === null ? null : against.rivalUs / timing.us,
    share_of_limit: limit === null ? null : limit.us / timing.us,
    limit: limit?.by ?? null,
  };
}

/** Half the distance between the quartiles over the median. */
export function spreadOf({ us, us_q1, us_q3 }: LaunchTiming): number {
  return (us_q3 - us_q1) / 2 / us;
}

/** The table of rows; `heading` names what they compute. */
export function formatKernelRows(heading: string, rows: readonly KernelRow[]): string {
  const cells = rows.map((row, index) => [
    rows[index - 1]?.shape === row.shape ? "" : row.shape,
    row.kernel,
    row.us.toFixed(row.us < 100 ? 2 : 1),
    (100 * spreadOf(row)).toFixed(1),
    rate(row.top_per_s),
    rate(row.gbyte_per_s),
    row.speedup === null ? "-" : row.speedup.toFixed(2),
    row.share_of_limit === null ? "-" : (100 * row.share_of_limit).toFixed(0),
    row.limit ?? "-",
    row.max_error.toExponential(1),
  ]);
  return formatTable([
    [
      heading,
      "kernel",
      "us",
      "±%",
      "TOP/s",
      "GB/s",
      "x BF16",
      "% of limit",
      "limit",
      "max error",
    ],
    ...cells,
  ], { header: true });
}

/** Three digits at least. */
function rate(value: number): string {
  return value.toFixed(value < 0.1 ? 4 : value < 10 ? 2 : value < 100 ? 1 : 0);
}
