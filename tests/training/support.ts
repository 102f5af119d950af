/** A tiny run on tokens made up here. */

import { join } from "@std/path";
import { parseRunConfig } from "../../lib/config/load.ts";
import type { RunConfig } from "../../lib/config/run_config.ts";
import type { MetricsRecord, SpikeEvent } from "../../lib/metrics/records.ts";

const VOCAB_SIZE = 64;

/** A folder with token files and a config, deleted when disposed of. */
export interface TinyRun extends AsyncDisposable {
  readonly folder: string;
  /** Path of the YAML. */
  readonly file: string;
  /** Folder of the run's checkpoints. */
  readonly run: string;
  config(...set: string[]): RunConfig;
}

/** Records and warnings of a trainer, kept. */
export function recorder() {
  const records: MetricsRecord[] = [];
  const warnings: string[] = [];
  return {
    records,
    warnings,
    record: (record: MetricsRecord) => void records.push(record),
    warn: (message: string) => void warnings.push(message),
  };
}

export async function tinyRun(): Promise<TinyRun> {
  const folder = await Deno.makeTempDir({ prefix: "titanbit_run_" });
  await Deno.writeFile(join(folder, "train.bin"), tokens(20_000, 1));
  await Deno.writeFile(join(folder, "val.bin"), tokens(1_000, 2));
  const file = join(folder, "tiny.yaml");
  const yaml = `
model:
  vocab_size: ${VOCAB_SIZE}
  hidden_size: 64
  num_layers: 2
  num_heads: 4
  num_kv_heads: 2
  intermediate_size: 128
  max_seq_len: 32
data:
  train: ${join(folder, "train.bin")}
  validation: ${join(folder, "val.bin")}
training:
  steps: 20
  seq_len: 32
  batch_sequences: 8
  micro_batch: 4
  device: cpu
  eval_every: 10
  eval_tokens: 512
optimizer:
  lr: 3e-3
  schedule: { type: cosine, warmup_steps: 4 }
checkpoint:
  directory: ${join(folder, "checkpoints")}
  run: tiny
  every_steps: 10
logging:
  every_steps: 1
`;
  await Deno.writeTextFile(file, yaml);
  return {
    folder,
    file,
    run: join(folder, "checkpoints", "tiny"),
    config: (...set) => parseRunConfig(yaml, { file, set }).config,
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

/** Raw little-endian uint16 tokens in which the next one mostly follows from the last: something to learn. */
function tokens(count: number, seed: number): Uint8Array {
  const ids = new Uint16Array(count);
  let state = seed;
  for (let i = 1; i < count; i++) {
    state = (state * 48271) % 2147483647;
    ids[i] = state % 5 === 0 ? state % VOCAB_SIZE : (ids[i - 1]! * 5 + 3) % VOCAB_SIZE;
  }
  return new Uint8Array(ids.buffer);
}

/** The spikes among records. */
export function spikesOf(records: readonly MetricsRecord[]): SpikeEvent[] {
  return records.filter((record): record is SpikeEvent & { type: "stability" } =>
    record.type === "stability" && record.event === "spike"
  );
}

/** Bytes of a checkpoint's tensors. */
export async function tensorsOf(checkpoint: string): Promise<Uint8Array[]> {
  return await Promise.all(
    ["model.safetensors", "optimizer.safetensors"].map((name) =>
      Deno.readFile(join(checkpoint, name))
    ),
  );
}
