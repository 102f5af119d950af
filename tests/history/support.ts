/** Records made up here, and folders for them. */

import { join } from "@std/path";
import type {
  MachineRecord,
  MetricsRecord,
  RunRecord,
  SampleRecord,
  StepRecord,
} from "../../lib/metrics/records.ts";

const GIB = 2 ** 30;

/** A run's first record. */
export function runRecord(fields: Partial<RunRecord> = {}): RunRecord {
  return {
    type: "run",
    step: 0,
    time: "2026-01-01T00:00:00.000Z",
    version: "0.1.0",
    run: "made-up",
    device: "CPU",
    backend: "cpu",
    parameters: 1000,
    tokens_per_step: 100,
    steps: 1000,
    undone_steps: 0,
    snapshot_bytes: 0,
    ...fields,
  };
}

/** A step's record. */
export function stepRecord(step: number, fields: Partial<StepRecord> = {}): StepRecord {
  return {
    type: "step",
    step,
    tokens: 100 * step,
    loss: 2 + 8 / step,
    lr: 1e-3,
    weight_decay: 0.1,
    grad_norm: 0.5,
    forward_ms: 1.5,
    backward_ms: 3.25,
    optimizer_ms: 0.25,
    data_ms: 0.125,
    step_ms: 5,
    tokens_per_s: 20000,
    mfu_bf16: 0.4,
    mfu_mixed: null,
    skipped: 0,
    ...fields,
  };
}

/** An evaluation's record. */
export function validationRecord(step: number, loss = 3): MetricsRecord {
  return {
    ...{ type: "validation", step, tokens: 100 * step, loss, perplexity: Math.exp(loss) },
    ...{ bits_per_byte: loss / 3, validation_tokens: 50, validation_ms: 1 },
  };
}

/** A spike's record. */
export function spikeRecord(step: number): MetricsRecord {
  return {
    ...{ type: "stability", event: "spike", step, detector: "loss_ema", answer: "rollback" },
    ...{ loss: 90, grad_norm: 7, reference: 3, score: 30, threshold: 5, consecutive_skips: 0 },
  };
}

/** A rollback's record. */
export function rollbackRecord(step: number, toStep: number): MetricsRecord {
  return {
    ...{ type: "stability", event: "rollback", step, to_step: toStep, place: "memory" },
    ...{ undone_steps: step - toStep, window_from: 0, window_to: 8, lr_factor: 0.5 },
    ...{ rollbacks: 1, max_rollbacks: 5 },
  };
}

/** A record of the machine, with a card. */
export function machineRecord(step: number, fields: Partial<MachineRecord> = {}): MachineRecord {
  return {
    ...{ type: "machine", step, time: "2026-01-01T00:00:00.000Z" },
    ...{ host_memory_total_bytes: 64 * GIB, host_memory_used_bytes: 16 * GIB },
    ...{ host_memory_available_bytes: 48 * GIB, disk_available_bytes: 500 * GIB },
    ...{ process_rss_bytes: 2 * GIB, gpu_power_w: 350 + 40 * Math.sin(step / 9) },
    ...{ gpu_temperature_c: 60 + 5 * Math.sin(step / 30), gpu_sm_clock_mhz: 1800 },
    ...{ gpu_memory_clock_mhz: 2600, gpu_utilisation_percent: 98, gpu_memory_used_bytes: 40 * GIB },
    ...{ gpu_memory_total_bytes: 80 * GIB, gpu_ecc_corrected: 0, gpu_ecc_uncorrected: 0 },
    gpu_throttle_reasons: [],
    ...fields,
  };
}

const MATRICES = ["q", "k", "v", "o", "gate", "up", "down"];
const INPUTS = ["qkv", "o", "gate_up", "down"];

/** A record of ternary weights: zeros are `0.3 + layer / 10 + step / 10000`, for every matrix of a layer. */
export function ternaryRecord(step: number, options: { layers?: number } = {}): MetricsRecord {
  const { layers = 3 } = options;
  const each = (names: readonly string[], value: (layer: number) => number) =>
    Array.from({ length: layers }, (_, layer) => names.map(() => value(layer))).flat();
  const zeros = each(MATRICES, (layer) => 0.3 + layer / 10 + step / 10_000);
  return {
    ...{ type: "ternary", step, layers, matrices: MATRICES, inputs: INPUTS, zero_share: 0.4 },
    ...{ flip_rate: null, flip_steps: null, flipped: null, zero: zeros },
    ...{ minus: zeros.map((zero) => (1 - zero) / 2), plus: zeros.map((zero) => (1 - zero) / 2) },
    ...{ beta: each(MATRICES, () => 0.02), near: each(MATRICES, () => 0.12) },
    ...{ gamma_mean: each(INPUTS, () => 3), gamma_max: each(INPUTS, (layer) => 5 + step + layer) },
    ...{ input_zero: each(INPUTS, () => 0.01), input_clipped: each(INPUTS, () => 0.004) },
    collect_ms: 10,
  };
}

/** A text that a model wrote. */
export function sampleRecord(step: number, fields: Partial<SampleRecord> = {}): SampleRecord {
  return {
    ...{ type: "sample", step, tokens: 100 * step, prompt: "Once", text: ` upon step ${step}` },
    ...{ prompt_tokens: 1, sample_tokens: 3, stop: "max_tokens", sample_ms: 12, error: null },
    ...fields,
  };
}

/** Records as lines. */
export function lines(...records: readonly unknown[]): string {
  return records.map((record) => JSON.stringify(record) + "\n").join("");
}

/** Steps `from` to `to` as lines. */
export function stepLines(from: number, to: number): string {
  return lines(...Array.from({ length: to - from + 1 }, (_, index) => stepRecord(from + index)));
}

/** A run's folder with its file of records, deleted when disposed of. */
export interface RunFolder extends AsyncDisposable {
  readonly folder: string;
  readonly file: string;
  append(text: string): void;
}

/** Makes a {@linkcode RunFolder} that begins with `text`. */
export async function runFolder(text: string): Promise<RunFolder> {
  const folder = await Deno.makeTempDir({ prefix: "titanbit_history_" });
  const file = join(folder, "metrics.jsonl");
  Deno.writeTextFileSync(file, text);
  return {
    folder,
    file,
    append: (more) => Deno.writeTextFileSync(file, more, { append: true }),
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}
