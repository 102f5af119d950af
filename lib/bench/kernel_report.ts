/**
 * Reports of kernels for people, for programs and as a chart.
 *
 * @module
 */

import type { Device } from "../ffi/device.ts";
import { formatKernelRows } from "./kernel_row.ts";
import type { KernelReport, KernelSuite } from "./kernel_suites.ts";
import { rooflineSvg } from "./roofline.ts";
import type { Roofs } from "./roofs.ts";

const HEADINGS: Readonly<Record<KernelSuite, string>> = {
  gemm: "M x N x K",
  gemv: "M x N x K",
  attention: "B x H x T x E",
};

/** The tables of reports, below what they were held to. */
export function formatReports(
  device: Device,
  roofs: Roofs,
  reports: readonly KernelReport[],
): string {
  const { name, isa, cores } = device.description;
  const { cublasLt, driver } = device.library.description;
  const unit = device.backend === "cuda" ? "multiprocessors" : `cores, ${device.threads} threads`;
  const { peak } = roofs;
  const peaks = peak === null ? "no published peaks known" : (["bf16", "fp8", "int8"] as const)
    .map((kind) => `${kind} ${peak[kind] === null ? "unknown" : (peak[kind] / 1e12).toFixed(0)}`)
    .join(", ") + ` TOP/s (${peak.card})`;
  return [
    `${name}, ${isa}, ${cores} ${unit}` +
    (device.backend === "cuda" ? `; driver for CUDA ${driver}, ${cublasLt ?? "no cuBLASLt"}` : ""),
    `a copy moves ${(roofs.memoryBytesPerS / 1e9).toFixed(0)} GB/s; peaks: ${peaks}`,
    ...reports.flatMap(({ suite, rows, float32_to_packed: ratio }) => [
      "",
      formatKernelRows(HEADINGS[suite], rows),
      ...(ratio === null ? [] : [
        `weights: float32 : packed = ${ratio.toFixed(2)} : 1, of the buffers measured`,
      ]),
    ]),
  ].join("\n");
}

/** Reports as the JSON of `bench --json`. */
export function reportsJson(
  device: Device,
  { repeat, roofs, reports }: {
    repeat: number;
    roofs: Roofs;
    reports: readonly KernelReport[];
  },
): Record<string, unknown> {
  const { driver, cublasLt, runtime } = device.library.description;
  return {
    device: device.description,
    ...(device.backend === "cuda" ? { driver, runtime, cublasLt } : { threads: device.threads }),
    repeat,
    memory_gbyte_per_s: roofs.memoryBytesPerS / 1e9,
    peak: roofs.peak,
    reports,
  };
}

/** The roofline of every row. */
export function plotReports(
  device: Device,
  roofs: Roofs,
  reports: readonly KernelReport[],
): string {
  return rooflineSvg({
    title: `Roofline of ${device.description.name}`,
    roofs,
    rows: reports.flatMap(({ rows }) => rows),
  });
}
