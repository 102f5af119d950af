/**
 * Runs models of several shapes and prints what was measured.
 *
 * @module
 */

import { printJson } from "../cli/print.ts";
import { formatTable } from "../cli/format.ts";
import { openLibrary } from "../ffi/library.ts";
import type { HeadWeights } from "../inference/load_model.ts";
import type { CacheDType } from "../tensor/dtype.ts";
import { benchDecode, type DecodeRow, type Rate } from "./decode_bench.ts";
import type { DecodeSize } from "./decode_model.ts";

/** Options of {@linkcode runDecodeSuite}. */
export interface DecodeSuiteOptions {
  readonly sizes: readonly DecodeSize[];
  readonly heads: readonly HeadWeights[];
  readonly caches: readonly CacheDType[];
  /** Numbers of threads of the CPU build, each measured; null measures on the card. */
  readonly threads: readonly number[] | null;
  readonly repeat: number;
  /** Prints JSON in the place of tables. */
  readonly json: boolean;
}

/** Measures every size with every head, cache and number of threads. */
export function runDecodeSuite(options: DecodeSuiteOptions): void {
  const rows: DecodeRow[] = [];
  for (const size of options.sizes) {
    for (const head of options.heads) {
      for (const cache of options.caches) {
        for (const threads of options.threads ?? [null]) {
          rows.push(benchDecode({ size, head, cache, threads, repeat: options.repeat }));
        }
      }
    }
  }
  const backend = options.threads === null ? "cuda" : "cpu";
  const { devices } = openLibrary({ device: backend }).description;
  const device = devices.find(({ usable }) => usable !== false)!;
  if (options.json) {
    printJson({ device, repeat: options.repeat, rows });
    return;
  }
  const unit = backend === "cuda" ? "multiprocessors" : "cores";
  console.log(`${device.name}, ${device.cores} ${unit}, ${device.isa}; median (best), ± in %\n`);
  console.log(formatDecodeRows(rows));
}

/** The tables of {@linkcode DecodeRow}s: rates, then bytes and where the time goes. */
export function formatDecodeRows(rows: readonly DecodeRow[]): string {
  const name = (row: DecodeRow) =>
    `${row.size}, head ${row.head}, cache ${row.cache}, ` +
    (row.threads === null ? "card" : `${row.threads} threads`);
  const rates = rows.map((row) => [
    name(row),
    rateText(row.prefill_tok_per_s),
    rateText(row.decode_empty_tok_per_s),
    rateText(row.decode_512_tok_per_s),
    row.gbyte_per_s.toFixed(1),
    row.memory_gbyte_per_s.toFixed(1),
    (100 * row.share_of_memory).toFixed(0),
  ]);
  const limits = rows.map((row) => [
    name(row),
    ...[row.bytes_a_token.projections, row.bytes_a_token.head, row.bytes_a_token.cache].map((
      bytes,
    ) => (bytes / 1e6).toFixed(1)),
    ...(["projections", "head", "attention", "norms", "rest"] as const).map((part) =>
      row.us_a_token === null ? "-" : (row.us_a_token[part] / 1000).toFixed(2)
    ),
    row.float32_to_packed.toFixed(2),
  ]);
  return [
    formatTable([
      [
        "tok/s",
        "prefill of 512",
        "decode, empty context",
        "decode at 512",
        "GB/s",
        "memory's",
        "%",
      ],
      ...rates,
    ], { header: true }),
    formatTable([
      [
        "a token at context 512",
        "MB projections",
        "head",
        "cache",
        "ms projections",
        "head",
        "attention",
        "norms",
        "rest",
        "float32 : packed",
      ],
      ...limits,
    ], { header: true }),
  ].join("\n\n");
}

function rateText({ median, best, spread }: Rate): string {
  const text = (rate: number) => rate.toFixed(rate < 100 ? 1 : 0);
  return `${text(median)} (${text(best)}) ±${(100 * spread).toFixed(0)}`;
}
