/**
 * Which charts there are.
 *
 * @module
 */

import { formatBytes, formatPercent } from "./numbers.js";

/**
 * Charts of what every run has. `from` says whose figures they draw: held-out ones (`validations`), the machine's (`machine`), or
 * where it is left out those of steps.
 */
const KNOWN = [
  {
    id: "loss",
    title: "Loss",
    unit: "nats a token",
    wide: true,
    logged: true,
    spikes: "loss",
    series: [
      { column: "loss", label: "loss", faint: true },
      { column: "loss_smooth", label: "smoothed" }, // over as many records as panelsOf is told
    ],
  },
  {
    id: "grad_norm",
    title: "Gradient norm",
    unit: "before clipping",
    clip: true,
    spikes: "grad_norm",
    series: [{ column: "grad_norm", label: "norm" }],
  },
  {
    id: "validation",
    title: "Validation loss",
    unit: "nats a token",
    from: "validations",
    logged: true,
    series: [{ column: "loss", label: "loss", points: true }],
  },
  {
    id: "bits_per_byte",
    title: "Validation",
    unit: "bits per byte",
    from: "validations",
    series: [{ column: "bits_per_byte", label: "bits per byte", points: true }],
  },
  { id: "lr", title: "Learning rate", unit: "", series: [{ column: "lr", label: "rate" }] },
  {
    id: "tokens_per_s",
    title: "Throughput",
    unit: "tokens/s",
    series: [{ column: "tokens_per_s", label: "tokens/s" }],
  },
  {
    id: "mfu",
    title: "Model FLOPs utilisation",
    unit: "of the card's peak",
    format: formatPercent,
    series: [
      { column: "mfu_bf16", label: "bf16 peak" },
      { column: "mfu_mixed", label: "int8 and bf16 peaks" },
    ],
  },
  {
    id: "phases",
    title: "Time by phase",
    unit: "ms",
    series: [
      { column: "forward_ms", label: "forward" },
      { column: "backward_ms", label: "backward" },
      { column: "optimizer_ms", label: "optimizer" },
      { column: "data_ms", label: "data" },
    ],
  },
];

/** Charts of the machine. */
const MACHINE = [
  { id: "gpu_power", title: "Card's power", unit: "W", series: [["gpu_power_w", "power"]] },
  {
    id: "gpu_temperature",
    title: "Card's temperature",
    unit: "°C",
    series: [["gpu_temperature_c", "chip"]],
  },
  {
    id: "gpu_clocks",
    title: "Card's clocks",
    unit: "MHz",
    series: [["gpu_sm_clock_mhz", "multiprocessors"], ["gpu_memory_clock_mhz", "memory"]],
  },
  {
    id: "gpu_utilisation",
    title: "Card's utilisation",
    unit: "% of time with a kernel",
    series: [["gpu_utilisation_percent", "utilisation"]],
  },
  {
    id: "gpu_memory",
    title: "Card's memory",
    unit: "",
    format: formatBytes,
    binary: true,
    series: [["gpu_memory_used_bytes", "used"], ["gpu_memory_total_bytes", "total"]],
  },
  {
    id: "gpu_ecc",
    title: "Card's ECC errors",
    unit: "since the driver was loaded",
    series: [["gpu_ecc_corrected", "corrected"], ["gpu_ecc_uncorrected", "not corrected"]],
  },
  {
    id: "host_memory",
    title: "Host memory",
    unit: "",
    format: formatBytes,
    binary: true,
    series: [
      ["host_memory_used_bytes", "used"],
      ["process_rss_bytes", "this process"],
      ["host_memory_available_bytes", "available"],
      ["host_memory_total_bytes", "total"],
    ],
  },
  {
    id: "disk",
    title: "Disk",
    unit: "left",
    format: formatBytes,
    binary: true,
    series: [["disk_available_bytes", "available"]],
  },
].map(({ series, ...panel }) => ({
  ...panel,
  from: "machine",
  series: series.map(([column, label]) => ({ column, label })),
}));

/** Why clocks are low: 1 while a reason holds. */
const THROTTLED = /^throttled\./;

/** Metrics of the program's own, whose names say nothing of their units. */
const OWN = /^metrics\./;

/** Fields that have their chart, or need none. */
const TAKEN = new Set([
  ...KNOWN.flatMap(({ from, series }) => from ? [] : series.map(({ column }) => column)),
  ...["step", "tokens", "weight_decay", "step_ms", "elapsed_ms", "skipped"],
]);

/** Charts of fields that only some runs have, by what their names end with. */
const GROUPS = [
  { id: "memory", title: "Memory", unit: "", ends: /_bytes$/, format: formatBytes },
  { id: "power", title: "Power", unit: "W", ends: /_w(atts)?$/ },
  { id: "temperature", title: "Temperature", unit: "°C", ends: /_(c|celsius)$/ },
  { id: "clocks", title: "Clocks", unit: "MHz", ends: /_mhz$/ },
  { id: "utilisation", title: "Utilisation", unit: "%", ends: /(_percent|utili[sz]ation)$/ },
];

/** The charts that `runs` have numbers for, with losses smoothed over `window` records. */
export function panelsOf(runs, window) {
  const shown = (panel) => ({
    ...panel,
    series: panel.series
      .filter(({ column }) => runs.some((run) => run.has(column, panel.from)))
      .map((one) =>
        one.column === "loss_smooth" ? { ...one, label: `smoothed over ${window} records` } : one
      ),
  });
  const reasons = new Set(runs.flatMap((run) => Object.keys(run.table("machine"))));
  const throttled = {
    id: "gpu_throttled",
    title: "Card's clocks are held back",
    unit: "1 while the reason holds",
    from: "machine",
    series: [...reasons].filter((name) => THROTTLED.test(name)).map((column) => ({
      column,
      label: column.replace(THROTTLED, "").replaceAll("_", " "),
    })),
  };
  const others = [...new Set(runs.flatMap((run) => Object.keys(run.table())))]
    .filter((name) => !TAKEN.has(name) && runs.some((run) => run.has(name)));
  const own = others.filter((name) => OWN.test(name)).map((column) => ({
    id: column,
    title: column.replace(OWN, ""),
    unit: "",
    series: [{ column, label: column.replace(OWN, "") }],
  }));
  const units = others.filter((name) => !OWN.test(name));
  const grouped = GROUPS.map(({ ends, ...panel }) => ({
    ...panel,
    series: units.filter((name) => ends.test(name)).map((column) => ({
      column,
      label: column.replace(ends, "").replaceAll("_", " "),
    })),
  }));
  const single = units.filter((name) => !GROUPS.some(({ ends }) => ends.test(name)))
    .map((column) => ({
      id: column,
      title: column.replaceAll("_", " "),
      unit: "",
      series: [{ column, label: column }],
    }));
  return [...KNOWN.map(shown), ...own, ...grouped, ...single, ...MACHINE.map(shown), throttled]
    .filter((
      { series },
    ) => series.length > 0);
}
