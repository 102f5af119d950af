/** One record of each type that has numbers. */

import type {
  CheckpointRecord,
  MachineRecord,
  RollbackEvent,
  RunRecord,
  SampleRecord,
  StepRecord,
  ValidationRecord,
} from "../../lib/metrics/records.ts";

export const RUN: RunRecord = {
  type: "run",
  step: 0,
  time: "2026-01-01T00:00:00.000Z",
  version: "0.1.0",
  run: "tiny",
  device: "a card",
  backend: "cuda",
  parameters: 1000,
  tokens_per_step: 256,
  steps: 20,
  undone_steps: 0,
  snapshot_bytes: 0,
  pci_bus_id: "0000:c1:00.0",
};

export const STEP: StepRecord = {
  type: "step",
  step: 7,
  tokens: 1792,
  loss: 4.25,
  lr: 0.001,
  weight_decay: 0.1,
  grad_norm: 0.5,
  step_ms: 100,
  forward_ms: 30,
  backward_ms: 60,
  optimizer_ms: 8,
  data_ms: 2,
  tokens_per_s: 2560,
  mfu_bf16: 0.25,
  mfu_mixed: 0.125,
  skipped: 1,
};

export const VALIDATION: ValidationRecord = {
  type: "validation",
  step: 10,
  tokens: 2560,
  loss: 3.5,
  perplexity: 33.1,
  bits_per_byte: 1.5,
  validation_tokens: 512,
  validation_ms: 250,
};

export const CHECKPOINT: CheckpointRecord = {
  type: "checkpoint",
  step: 10,
  path: "checkpoints/tiny/step_0000010",
  write_ms: 40,
  size_bytes: 4096,
  error: null,
};

export const ROLLBACK: RollbackEvent & { readonly type: "stability" } = {
  type: "stability",
  event: "rollback",
  step: 15,
  to_step: 10,
  place: "memory",
  undone_steps: 4,
  window_from: 80,
  window_to: 120,
  lr_factor: 0.5,
  rollbacks: 1,
  max_rollbacks: 5,
};

export const SAMPLE: SampleRecord = {
  type: "sample",
  step: 20,
  tokens: 640,
  prompt: "Once",
  text: " upon a time",
  prompt_tokens: 1,
  sample_tokens: 3,
  stop: "max_tokens",
  sample_ms: 12,
  error: null,
};

export const MACHINE: MachineRecord = {
  type: "machine",
  step: 7,
  time: "2026-01-01T00:00:10.000Z",
  host_memory_total_bytes: 1000,
  host_memory_used_bytes: 400,
  host_memory_available_bytes: 600,
  disk_available_bytes: 5000,
  process_rss_bytes: 300,
  gpu_power_w: 251.5,
  gpu_temperature_c: 61,
  gpu_sm_clock_mhz: 1980,
  gpu_memory_clock_mhz: 2619,
  gpu_utilisation_percent: 97,
  gpu_memory_used_bytes: 700,
  gpu_memory_total_bytes: 800,
  gpu_ecc_corrected: 3,
  gpu_ecc_uncorrected: 0,
  gpu_throttle_reasons: ["sw_power_cap"],
};
