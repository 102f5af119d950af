/**
 * Runs suites of kernels on a device, prints them and draws their roofline.
 *
 * @module
 */

import { dirname } from "@std/path";
import { print, printJson } from "../cli/print.ts";
import { Device } from "../ffi/device.ts";
import type { ForwardSizes } from "./forward_products.ts";
import {
  ATTENTION_SHAPES,
  CPU_ATTENTION_SHAPES,
  type KernelReport,
  type KernelSuite,
  measureRoofs,
  runAttentionSuite,
  runForwardSuite,
} from "./kernel_suites.ts";
import { formatReports, plotReports, reportsJson } from "./kernel_report.ts";

/** Options of {@linkcode runKernelSuites}. */
export interface KernelRunOptions {
  readonly suites: readonly KernelSuite[];
  readonly shapes: Readonly<Record<"gemm" | "gemv", readonly ForwardSizes[]>>;
  /** Numbers of threads of the CPU build, each measured; null measures on the card. */
  readonly threads: readonly number[] | null;
  /** Samples of each kernel. */
  readonly repeat: number;
  /** Prints JSON in the place of tables. */
  readonly json: boolean;
  /** File of the roofline; null draws none. */
  readonly plot: string | null;
}

/** Throws `Error` where a result is wrong, or the chart's folder is missing, before anything runs. */
export function runKernelSuites(options: KernelRunOptions): void {
  const { suites, shapes, threads, repeat, json, plot } = options;
  if (plot !== null) checkFolder(plot);
  const found: Record<string, unknown>[] = [];
  for (const count of threads ?? [null]) {
    using device = Device.open(
      count === null ? { kind: "cuda" } : { kind: "cpu", threads: count },
    );
    const roofs = measureRoofs(device, repeat);
    const attention = count === null ? ATTENTION_SHAPES : CPU_ATTENTION_SHAPES;
    const reports: KernelReport[] = suites.map((suite) =>
      suite === "attention"
        ? runAttentionSuite(device, attention, { repeat, roofs })
        : runForwardSuite(device, suite, { shapes: shapes[suite], repeat, roofs })
    );
    if (json) found.push(reportsJson(device, { repeat, roofs, reports }));
    else print(formatReports(device, roofs, reports) + "\n");
    if (plot !== null) Deno.writeTextFileSync(plot, plotReports(device, roofs, reports));
  }
  if (json) printJson(found.length === 1 ? found[0] : found);
  else if (plot !== null) console.log(`\nroofline: ${plot}`);
}

function checkFolder(file: string): void {
  const folder = dirname(file);
  try {
    if (Deno.statSync(folder).isDirectory) return;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  throw new Error(`Cannot draw ${file} as its folder ${folder} is missing: make it first`);
}
