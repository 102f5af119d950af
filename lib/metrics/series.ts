/**
 * The numbers of records, one row each: what they are called and measured in outside the JSONL file.
 *
 * @module
 */

import type { MetricsRecord } from "./records.ts";

/** A unit of records, and the base unit that metrics systems expect. */
export interface Unit {
  /** End of the name in Prometheus; empty for plain numbers. */
  readonly suffix: string;
  /** As OTLP writes it: the Unified Code for Units of Measure. */
  readonly ucum: string;
  /** Times the record's value gives the base unit. */
  readonly factor: number;
}

const UNITS = {
  number: { suffix: "", ucum: "1", factor: 1 },
  nats: { suffix: "nats", ucum: "{nat}", factor: 1 },
  ratio: { suffix: "ratio", ucum: "1", factor: 1 },
  percent: { suffix: "ratio", ucum: "1", factor: 0.01 },
  ms: { suffix: "seconds", ucum: "s", factor: 0.001 },
  perSecond: { suffix: "per_second", ucum: "{token}/s", factor: 1 },
  bytes: { suffix: "bytes", ucum: "By", factor: 1 },
  watts: { suffix: "watts", ucum: "W", factor: 1 },
  celsius: { suffix: "celsius", ucum: "Cel", factor: 1 },
  mhz: { suffix: "hertz", ucum: "Hz", factor: 1e6 },
  errors: { suffix: "errors_total", ucum: "{error}", factor: 1 },
} as const satisfies Record<string, Unit>;

/** One number of one type of record. */
export interface Series {
  readonly type: MetricsRecord["type"] | "metrics";
  /** Field of the record; of a program's own metrics, which stand under `metrics` of a step's, the name. */
  readonly field: string;
  /** Without prefix and unit. */
  readonly name: string;
  readonly unit: Unit;
  /** One sentence for people. */
  readonly help: string;
}

/** Rows of one type: field, name, unit, help. */
function rows<Type extends MetricsRecord["type"]>(
  type: Type,
  list: readonly (readonly [
    field: keyof Extract<MetricsRecord, { type: Type }> & string,
    name: string,
    unit: keyof typeof UNITS,
    help: string,
  ])[],
): Series[] {
  return list.map(([field, name, unit, help]) => ({ type, field, name, unit: UNITS[unit], help }));
}

/** Every series, in the order in which they are shown. */
export const SERIES: readonly Series[] = [
  ...rows("run", [
    ["parameters", "parameters", "number", "Parameters of the model."],
    ["steps", "target_steps", "number", "Optimizer steps of the whole run."],
    ["tokens_per_step", "step_tokens", "number", "Tokens of an optimizer step."],
    ["snapshot_bytes", "snapshot_limit", "bytes", "Host memory that snapshots may take."],
  ]),
  ...rows("step", [
    ["step", "step", "number", "Optimizer steps done; goes back with a rollback."],
    ["tokens", "tokens", "number", "Tokens trained on; goes back with a rollback."],
    ["loss", "loss", "nats", "Training loss a token, mean of the steps since the last record."],
    ["lr", "learning_rate", "number", "Learning rate of the last step."],
    ["weight_decay", "weight_decay", "number", "Weight decay of the last step."],
    ["grad_norm", "gradient_norm", "number", "Global gradient norm before clipping."],
    ["step_ms", "step", "ms", "Time of an optimizer step."],
    ["forward_ms", "forward", "ms", "Device time of a step's forward passes."],
    ["backward_ms", "backward", "ms", "Device time of a step's backward passes."],
    ["optimizer_ms", "optimizer", "ms", "Device time of a step's update."],
    ["data_ms", "data", "ms", "Host time a step for reading batches."],
    ["tokens_per_s", "tokens", "perSecond", "Tokens trained on a second."],
    ["mfu_bf16", "mfu_bf16", "ratio", "All model FLOPs over the card's bfloat16 peak."],
    ["mfu_mixed", "mfu_mixed", "ratio", "int8 and bfloat16 FLOPs, each over its own peak."],
    ["skipped", "skipped_steps", "number", "Optimizer steps that were left out."],
  ]),
  ...rows("validation", [
    ["loss", "validation_loss", "nats", "Loss a token on held-out text."],
    ["perplexity", "validation_perplexity", "number", "Perplexity on held-out text."],
    ["bits_per_byte", "validation_bits_per_byte", "number", "Bits a byte of held-out text."],
    ["validation_ms", "validation", "ms", "Time of the last evaluation."],
  ]),
  ...rows("checkpoint", [
    ["step", "checkpoint_step", "number", "Step of the last checkpoint that was written."],
    ["write_ms", "checkpoint_write", "ms", "Time of writing the last checkpoint."],
    ["size_bytes", "checkpoint_size", "bytes", "Size of the last checkpoint."],
  ]),
  ...rows("machine", [
    ["host_memory_total_bytes", "host_memory_total", "bytes", "Memory of the machine."],
    ["host_memory_used_bytes", "host_memory_used", "bytes", "Memory less what is available."],
    [
      "host_memory_available_bytes",
      "host_memory_available",
      "bytes",
      "Memory to be had without swapping.",
    ],
    ["disk_available_bytes", "disk_available", "bytes", "Room left where checkpoints go."],
    ["process_rss_bytes", "process_resident_memory", "bytes", "Resident memory of the process."],
    ["gpu_power_w", "gpu_power", "watts", "Power that the card draws."],
    ["gpu_temperature_c", "gpu_temperature", "celsius", "Temperature of the card's chip."],
    ["gpu_sm_clock_mhz", "gpu_sm_clock", "mhz", "Clock of the multiprocessors."],
    ["gpu_memory_clock_mhz", "gpu_memory_clock", "mhz", "Clock of the card's memory."],
    ["gpu_utilisation_percent", "gpu_utilisation", "percent", "Share of time with a kernel."],
    ["gpu_memory_used_bytes", "gpu_memory_used", "bytes", "Card memory in use by anyone."],
    ["gpu_memory_total_bytes", "gpu_memory_total", "bytes", "Memory of the card."],
    ["gpu_ecc_corrected", "gpu_ecc_corrected", "errors", "Corrected since the driver was loaded."],
    ["gpu_ecc_uncorrected", "gpu_ecc_uncorrected", "errors", "Not corrected since then."],
  ]),
];

/** A record's value of a series, in the record's unit; null where it has none. */
export interface SeriesValue {
  readonly series: Series;
  readonly value: number | null;
}

const BY_TYPE = Map.groupBy(SERIES, ({ type }) => type);

/** The numbers of a record. A checkpoint that could not be written has none. */
export function seriesOf(record: MetricsRecord): SeriesValue[] {
  if (record.type === "checkpoint" && record.error !== null) return [];
  const fields = record as unknown as Record<string, unknown>;
  const values = (BY_TYPE.get(record.type) ?? []).map((series) => {
    const value = fields[series.field];
    return { series, value: typeof value === "number" ? value : null };
  });
  if (record.type !== "step" || record.metrics === undefined) return values;
  const own = Object.entries(record.metrics);
  return [...values, ...own.map(([name, value]) => ({ series: ownSeries(name), value }))];
}

/** The series of a metric of a program's own. */
export function ownSeries(name: string): Series {
  const help = "A metric of the program's own.";
  return { type: "metrics", field: name, name: `metrics.${name}`, unit: UNITS.number, help };
}
