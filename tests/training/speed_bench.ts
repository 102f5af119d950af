/**
 * Speed and memory of whole training steps on random tokens: one JSON line a run.
 *
 *     deno run -A tests/training/speed_bench.ts --size 125M --sequences 32
 *     deno run -A tests/training/speed_bench.ts --config configs/default.yaml --sequences 16
 *
 * `--size` trains a preset with `--sequences` in one micro-batch, nothing recomputed and float32 moments: the run that
 * tests/reference/torch_speed.py times in PyTorch. `--config` takes a run's own micro-batch and options, with steps of
 * `--sequences`. `--set` changes either. Of 2 x `--steps` steps the second half is timed, from one look at the results to the
 * next; the first half warms up and records the graphs.
 */

import { parseArgs } from "@std/cli";
import { join } from "@std/path";
import { parse, stringify } from "@std/yaml";
import { parseRunConfig } from "../../lib/config/load.ts";
import type { RunConfig } from "../../lib/config/run_config.ts";
import type { StepRecord } from "../../lib/metrics/records.ts";
import { fitRun, planRun } from "../../lib/training/fit.ts";
import { describeDevice } from "../../lib/training/machine.ts";
import { Trainer } from "../../lib/training/trainer.ts";

const WINDOWS = 512; // of the file of random tokens

const args = parseArgs(Deno.args, {
  string: ["size", "sequences", "config", "device", "steps", "seq-len", "name"],
  collect: ["set"],
  default: { device: "cuda", steps: "8", sequences: "1", "seq-len": "2048" },
});
const folder = await Deno.makeTempDir({ prefix: "titanbit_speed_" });
try {
  const config = await runConfig();
  const { seqLen } = config.training;
  await Deno.writeFile(
    config.data.train[0]!,
    randomTokens(WINDOWS * seqLen + 1, config.model.vocabSize),
  );
  console.log(JSON.stringify(await measure(config)));
} finally {
  await Deno.remove(folder, { recursive: true });
}

async function runConfig(): Promise<RunConfig> {
  const sequences = Number(args.sequences);
  const raw = typeof args.config === "string"
    ? parse(await Deno.readTextFile(args.config)) as Record<string, Record<string, unknown>>
    : {
      model: { size: args.size, max_seq_len: Number(args["seq-len"]) },
      training: { micro_batch: sequences },
      optimizer: { lr: 1e-4 },
    };
  const steps = Number(args.steps);
  const { tokens: _, ...training } = raw.training!;
  const yaml = stringify({
    ...raw,
    data: { train: join(folder, "train.bin") },
    training: {
      ...training,
      batch_sequences: sequences,
      steps: 2 * steps,
      eval_every: 0,
      device: args.device,
    },
    optimizer: { ...raw.optimizer, schedule: { type: "cosine", warmup_steps: 1 } },
    checkpoint: { directory: join(folder, "checkpoints"), every_steps: 0, save_final: false },
    logging: { every_steps: steps },
  });
  const loaded = parseRunConfig(yaml, {
    file: "speed.yaml",
    set: (args.set as unknown[] ?? []).map(String),
  });
  return fitRun(loaded, describeDevice(loaded.config.training.device)).config;
}

async function measure(config: RunConfig) {
  const { training, optimizer, model, logging } = config;
  const seen: { at: number; record: StepRecord }[] = [];
  using trainer = await Trainer.open(config, {
    version: "bench",
    observer: {
      record: (record) =>
        record.type === "step" && void seen.push({ at: performance.now(), record }),
      warn: (message) => console.error(`warning: ${message}`),
    },
  });
  await trainer.run();
  const [from, to] = seen.slice(-2);
  const stepMs = (to!.at - from!.at) / logging.everySteps;
  const { forward_ms: forward, backward_ms: backward, optimizer_ms: update } = to!.record;
  const { device } = trainer.model;
  const { freeBytes, totalBytes } = device.memory();
  const tokensPerS = 1000 * training.tokensPerStep / stepMs;
  return {
    name: args.name ?? args.size ?? args.config,
    device: device.description.name,
    quantization: model.quantization,
    micro_batch: training.microBatch,
    micro_batches: training.accumulationSteps,
    recompute: training.recompute,
    gradient_dtype: training.gradientDtype,
    optimizer_state: optimizer.state,
    tokens_per_s: Math.round(tokensPerS),
    step_ms: rounded(stepMs),
    forward_ms: rounded(forward!),
    backward_ms: rounded(backward!),
    optimizer_ms: rounded(update!),
    idle_share: Number((1 - (forward! + backward! + update!) / stepMs).toFixed(4)),
    device_memory_gb: rounded((totalBytes - freeBytes) / 1e9),
    planned_gb: rounded(planRun(config, device.activationDtype).total / 1e9),
    loss: rounded(to!.record.loss),
  };
}

function randomTokens(count: number, vocabSize: number): Uint8Array {
  const ids = new Uint16Array(count);
  let state = 1;
  for (let i = 0; i < count; i++) {
    state = (state * 48271) % 2147483647;
    ids[i] = state % vocabSize;
  }
  return new Uint8Array(ids.buffer);
}

function rounded(value: number): number {
  return Number(value.toPrecision(5));
}
