/**
 * Measured rows as a table for people.
 *
 * @module
 */

import { formatTable } from "../cli/format.ts";
import type { ProductRow } from "./product_bench.ts";

/** The table of {@linkcode ProductRow}s. */
export function formatProductRows(rows: readonly ProductRow[]): string {
  const heading = [
    "op",
    "rows x columns x depth",
    "threads",
    "us",
    "±%",
    "GOP/s",
    "GB/s",
    "OpenBLAS us",
    "±%",
    "speedup",
    "max error",
  ];
  const cells = rows.map((row) => [
    row.op,
    `${row.rows} x ${row.columns} x ${row.depth}`,
    String(row.threads),
    microseconds(row.ours_us),
    percent(row.ours_spread),
    row.ours_gop_per_s.toFixed(1),
    row.ours_gbyte_per_s.toFixed(1),
    row.openblas_us === null ? "-" : microseconds(row.openblas_us),
    row.openblas_spread === null ? "-" : percent(row.openblas_spread),
    row.speedup === null ? "-" : row.speedup.toFixed(2),
    row.max_error.toExponential(1),
  ]);
  return formatTable([heading, ...cells], { header: true });
}

function microseconds(us: number): string {
  return us < 100 ? us.toFixed(1) : us.toFixed(0);
}

function percent(fraction: number): string {
  return (100 * fraction).toFixed(0);
}
