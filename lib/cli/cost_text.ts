/**
 * Costs and findings as the text of `info`.
 *
 * @module
 */

import {
  formatBytes,
  formatCount,
  formatDuration,
  formatPercent,
  formatRate,
  formatSi,
  formatTable,
} from "./format.ts";
import type { CostReport } from "../training/cost_report.ts";
import type { PackedProjections } from "../inference/packed_memory.ts";
import type { DeviceSpeed } from "../training/device_speed.ts";
import type { FoundLibraries } from "../training/machine.ts";

/** A report, and the device its hours are for. */
export type DeviceCosts = CostReport & {
  readonly device: string | null;
  readonly device_memory_bytes: number | null;
  readonly speed: DeviceSpeed | null;
  readonly not_measured: string | null;
  readonly packed_projections: PackedProjections | null;
};

/** Sections of a report, under the model's name. */
export function formatCosts(costs: DeviceCosts, name: string): string {
  return [
    formatModel(costs, name),
    section("Parameters", parameterRows(costs)),
    section(memoryTitle(costs), memoryRows(costs)),
    section("Packed for inference", packedRows(costs)),
    section(
      `FLOPs a token of training, ${costs.flops_per_token.seq_len} tokens a sequence`,
      flopRows(costs),
    ),
    section(...runSection(costs)),
  ].join("\n\n");
}

/** Builds and devices. */
export function formatFindings(found: FoundLibraries): string {
  const lines = [`Found here (Deno ${found.deno})`];
  for (const { path, description } of found.libraries) {
    const { backend, compiler, devices, driver, cublasLt, reason } = description;
    lines.push(`  ${backend} build ${path} (${compiler})`);
    const unit = backend === "cuda" ? "multiprocessors" : "cores";
    for (const { index, name, isa, cores, memoryBytes, usable } of devices) {
      const age = usable === false ? ", too old to be used" : "";
      const size = formatBytes(memoryBytes);
      lines.push(`    device ${index}: ${name}, ${isa}, ${cores} ${unit}, ${size}${age}`);
    }
    if (devices.length === 0) lines.push(`    no device${reason ? `: ${reason}` : ""}`);
    else if (backend === "cuda") {
      lines.push(
        `    driver for CUDA ${driver}, products by ${cublasLt ?? "TitanBit (no cuBLASLt found)"}`,
      );
    }
  }
  if (found.problem !== null) lines.push(`  ${found.problem}`);
  else if (found.libraries.length === 0) {
    lines.push("  no native library: run `make` in the source tree");
  }
  return lines.join("\n");
}

function formatModel({ model }: DeviceCosts, name: string): string {
  const heads = model.num_kv_heads === model.num_heads
    ? `${model.num_heads} heads`
    : `${model.num_heads} heads over ${model.num_kv_heads} key/value heads`;
  return `${name}: ${model.num_layers} layers of ${model.hidden_size}, ${heads} of ${model.head_dim}, MLP ${model.intermediate_size}, ` +
    `${model.vocab_size} tokens, ${model.tie_embeddings ? "tied" : "untied"}, ` +
    (model.quantization === "ternary" ? "ternary" : "not quantised");
}

function section(title: string, rows: readonly (readonly string[])[]): string {
  return `${title}\n${formatTable(rows, { indent: "  " })}`;
}

function parameterRows({ parameters }: DeviceCosts): string[][] {
  const parts = ["embedding", "attention", "mlp", "norms", "head", "own"] as const;
  const row = (name: string, count: number) => [
    name,
    formatCount(count),
    formatPercent(count / parameters.total),
  ];
  return [
    ...parts.filter((part) => parameters[part] > 0).map((part) => row(part, parameters[part])),
    row("total", parameters.total),
    row("ternary", parameters.ternary),
  ];
}

function memoryTitle({ training_memory: memory }: DeviceCosts): string {
  return `Training memory, micro-batch ${memory.micro_batch} x ${memory.seq_len} tokens, ${memory.activation_dtype} activations`;
}

function memoryRows(costs: DeviceCosts): string[][] {
  const { training_memory: memory, device, device_memory_bytes: has } = costs;
  const parts = [
    ...["weights", "gradients", "optimizer", "activations", "workspace"] as const,
    // A few kilobytes where flips are not counted.
    ...(memory.statistics_bytes < 2 ** 20 ? [] : ["statistics"] as const),
    ...(memory.samples_bytes === 0 ? [] : ["samples"] as const),
    "total",
  ] as const;
  const rows = parts.map((part) => [part, formatBytes(memory[`${part}_bytes`])]);
  if (has !== null) {
    rows.push([
      `${device} has`,
      formatBytes(has) + (has < memory.total_bytes ? ": too little" : ""),
    ]);
  }
  return rows;
}

function packedRows(costs: DeviceCosts): string[][] {
  const { packed_inference: packed, packed_projections: projections } = costs;
  return [
    ["ternary, 2 bits", formatBytes(packed.ternary_bytes)],
    ["embedding and head, 16 bits", formatBytes(packed.dense_bytes)],
    ["norms, 32 bits", formatBytes(packed.norms_bytes)],
    ["total", formatBytes(packed.total_bytes)],
    ...(projections === null ? [] : [[
      "float32 : packed, projections",
      `${projections.float32_to_packed.toFixed(2)} : 1`,
    ]]),
  ];
}

function flopRows({ flops_per_token: flops }: DeviceCosts): string[][] {
  return [
    ["forward, int8", formatSi(flops.forward_int8, "FLOP")],
    ["forward, float", formatSi(flops.forward_float, "FLOP")],
    ["backward, float", formatSi(flops.backward_float, "FLOP")],
    ["total", formatSi(flops.total, "FLOP")],
  ];
}

function runSection(costs: DeviceCosts): [title: string, rows: string[][]] {
  const { run, speed } = costs;
  const own = run.tokens !== run.chinchilla_tokens;
  const rows = [
    ["tokens", formatCount(run.tokens)],
    ...(own ? [["20 a parameter", formatCount(run.chinchilla_tokens)]] : []),
    ["FLOPs", formatSi(run.flops, "FLOP")],
  ];
  if (speed === null || run.min_hours === null || run.max_tokens_per_s === null) {
    rows.push(["time", `not measured: ${costs.not_measured}`]);
  } else {
    rows.push(
      ["device", costs.device ?? "unnamed"],
      [
        "int8 x ternary",
        `${formatSi(speed.ternary, "OP/s")} measured at ${speed.shape.join(" x ")}`,
      ],
      ["float", `${formatSi(speed.dense, "FLOP/s")} measured`],
      ["speed", `at most ${formatRate(run.max_tokens_per_s)}, products alone`],
      [
        "time",
        `at least ${formatDuration(run.min_hours * 3_600_000)} (${
          formatHours(run.min_hours)
        } hours)`,
      ],
    );
  }
  return [own ? "This run" : "A run of 20 tokens a parameter", rows];
}

function formatHours(hours: number): string {
  return hours < 10 ? hours.toPrecision(2) : Math.round(hours).toLocaleString("en-US");
}
