/**
 * The charts of the machine in a report.
 *
 * @module
 */

import { type Columns, downsample } from "../history/downsample.ts";
import { drawRunChart } from "./run_chart.ts";
import { type Field, linesByField, type ReportedRun } from "./run_charts.ts";

const POINTS = 800;
const GIB = 2 ** 30;

interface MachineChart {
  readonly title: string;
  readonly unit: string;
  /** Columns and what they are called. */
  readonly fields: readonly Field[];
  /** What values are divided by. @default 1 */
  readonly unitSize?: number;
}

const CHARTS: readonly MachineChart[] = [
  { title: "Card's power", unit: "W", fields: [["gpu_power_w", "power"]] },
  { title: "Card's temperature", unit: "°C", fields: [["gpu_temperature_c", "chip"]] },
  {
    title: "Card's clocks",
    unit: "MHz",
    fields: [["gpu_sm_clock_mhz", "multiprocessors"], ["gpu_memory_clock_mhz", "memory"]],
  },
  {
    title: "Card's utilisation",
    unit: "% of time with a kernel",
    fields: [["gpu_utilisation_percent", "utilisation"]],
  },
  {
    title: "Card's memory",
    unit: "GiB",
    unitSize: GIB,
    fields: [["gpu_memory_used_bytes", "used"], ["gpu_memory_total_bytes", "total"]],
  },
  {
    title: "Card's ECC errors",
    unit: "since the driver was loaded",
    fields: [["gpu_ecc_corrected", "corrected"], ["gpu_ecc_uncorrected", "not corrected"]],
  },
  {
    title: "Host memory",
    unit: "GiB",
    unitSize: GIB,
    fields: [
      ["host_memory_used_bytes", "used"],
      ["process_rss_bytes", "this process"],
      ["host_memory_available_bytes", "available"],
    ],
  },
  {
    title: "Disk",
    unit: "GiB left",
    unitSize: GIB,
    fields: [["disk_available_bytes", "available"]],
  },
];

/** Charts of what the runs' machines have records of, as SVG. */
export function machineCharts(runs: readonly ReportedRun[]): string[] {
  const tables = runs.map(({ history: { machine } }) =>
    downsample(machine, { from: 0, to: machine.length, points: POINTS })
  );
  return [...CHARTS, throttled(tables)].map(({ title, unit, fields, unitSize = 1 }) => {
    const { lines, ...chart } = linesByField(runs, tables, fields);
    return drawRunChart({
      ...{ title, unit, ...chart },
      lines: lines.map((line) => ({
        ...line,
        y: line.y.map((value) => value === null ? null : value / unitSize),
      })),
    });
  }).filter((svg) => svg !== "");
}

/** Why clocks were low: 1 while a reason held. */
function throttled(tables: readonly Columns[]): MachineChart {
  const reasons = new Set(tables.flatMap(Object.keys).filter((name) => /^throttled\./.test(name)));
  return {
    title: "Card's clocks were held back",
    unit: "1 while the reason holds",
    fields: Array.from(
      reasons,
      (column) => [column, column.replace("throttled.", "").replaceAll("_", " ")] as const,
    ),
  };
}
