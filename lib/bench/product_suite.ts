/**
 * Runs product cases and prints them.
 *
 * @module
 */

import { printJson } from "../cli/print.ts";
import { openLibrary } from "../ffi/library.ts";
import { OpenBlas } from "../ffi/openblas.ts";
import { benchProduct, type ProductRow } from "./product_bench.ts";
import { formatProductRows } from "./report.ts";
import type { ProductCase } from "./suites.ts";

/** Options of {@linkcode runProductSuite}. */
export interface ProductSuiteOptions {
  /** Numbers of threads, each measured with every case. */
  readonly threads: readonly number[];
  /** Rounds of measurement. */
  readonly repeat: number;
  /** Prints JSON in the place of a table. */
  readonly json: boolean;
}

/** Checks and times the cases on the CPU build beside OpenBLAS, where it is installed. */
export async function runProductSuite(
  cases: readonly ProductCase[],
  options: ProductSuiteOptions,
): Promise<void> {
  const { repeat } = options;
  const openblas = OpenBlas.open();
  const rows: ProductRow[] = [];
  for (const threads of options.threads) {
    for (const { op, sizes } of cases) {
      rows.push(await benchProduct(op, { sizes, threads, repeat, openblas }));
    }
  }
  const device = openLibrary({ device: "cpu" }).description.devices[0]!;
  const rival = openblas?.version ?? null;
  if (options.json) {
    printJson({ device, openblas: rival, repeat, rows });
    return;
  }
  console.log(`${device.name}, ${device.cores} cores, ${device.isa}`);
  console.log(rival ?? "no OpenBLAS found: libopenblas.so.0 is Debian's libopenblas0");
  console.log(formatProductRows(rows));
}
