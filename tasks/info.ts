/**
 * What a model or a run costs, and what was found on this machine.
 *
 * @module
 */

import { resolve, toFileUrl } from "@std/path";
import { type Command, main, type ParsedArgs, UsageError } from "../lib/cli/command.ts";
import { nearest } from "../lib/cli/nearest.ts";
import { type LoadedRunConfig, loadRunConfig } from "../lib/config/load.ts";
import type { DeviceKind } from "../lib/ffi/library.ts";
import { measurePackedProjections } from "../lib/inference/packed_memory.ts";
import { BitNetConfig } from "../lib/model/config.ts";
import { findPresetName, PRESET_NAMES, presetOptions } from "../lib/model/presets.ts";
import { costReport } from "../lib/training/cost_report.ts";
import { countedStatistics, writtenSamples } from "../lib/training/memory_plan.ts";
import { fitRun } from "../lib/training/fit.ts";
import { importLayers } from "../lib/training/import_layers.ts";
import { findDevice, findLibraries, type FoundDevice } from "../lib/training/machine.ts";
import { formatCosts, formatFindings } from "../lib/cli/cost_text.ts";
import { printJson } from "../lib/cli/print.ts";
import { printable } from "../lib/cli/printable.ts";
import { findCommit, VERSION } from "../lib/cli/version.ts";

/** `info`. */
export const command: Command = {
  name: "info",
  summary: "what a model or a run costs: parameters, memory, FLOPs, hours; and what was found here",
  description:
    "Without --model-size and --config only the libraries and devices of this machine are shown.\n" +
    "Memory is the model's own plan, laid out without taking it. Hours are those that the matrix products\n" +
    "alone take at the rates measured on this device: no run is faster.",
  flags: [
    {
      name: "model-size",
      kind: "string",
      help: "a named size",
      placeholder: PRESET_NAMES.join("|"),
    },
    { name: "config", kind: "string", help: "a run's YAML", placeholder: "FILE", alias: "c" },
    { name: "set", kind: "list", help: "change a key of the config", placeholder: "KEY=VALUE" },
    {
      name: "layers",
      kind: "string",
      help: "a module that exports layers in the place of BitNet's own, to count what they add",
      placeholder: "FILE",
    },
    {
      name: "micro-batch",
      kind: "integer",
      help: "sequences of a micro-batch (default the config's, else 1)",
      min: 1,
    },
    {
      name: "seq-len",
      kind: "integer",
      help: "tokens of a sequence (default the config's, else 2048)",
      min: 1,
    },
    {
      name: "activations",
      kind: "string",
      help: "dtype of activations in the memory plan (default the config's, else the device's)",
      choices: ["float32", "bfloat16"],
    },
    {
      name: "device",
      kind: "string",
      help: "device to measure",
      choices: ["auto", "cuda", "cpu"],
      default: "auto",
    },
    {
      name: "measure",
      kind: "boolean",
      help: "time the device's matrix products for half a second",
      default: true,
    },
    { name: "json", kind: "boolean", help: "print JSON, sizes in bytes, keys in snake_case" },
  ],
  examples: [
    "deno task info",
    "deno task info --model-size 1.3B",
    "deno task info --model-size 1.3B --micro-batch 4 --activations bfloat16",
    "deno task info --config configs/default.yaml --set training.micro_batch=8 --json",
  ],
  run,
};

async function run(args: ParsedArgs): Promise<void> {
  const asked = await askedModel(args);
  const found = findLibraries();
  const commit = findCommit();
  let costs = null;
  if (asked !== null) {
    const { model } = asked;
    const training = asked.loaded?.config.training;
    const device = findDevice({
      kind: asked.device,
      required: args.has("device"),
      measure: args.boolean("measure"),
    });
    const microBatch = args.optionalInteger("micro-batch") ?? microBatchOn(device, asked.loaded);
    const configured = training?.computeDtype === "auto" ? undefined : training?.computeDtype;
    const dtype = args.optionalString("activations") ?? configured ?? device.dtype;
    const seqLen = args.optionalInteger("seq-len") ?? training?.seqLen ?? model.maxSeqLen;
    if (seqLen > model.maxSeqLen) {
      throw new RangeError(
        `Cannot plan a run as --seq-len is at most the model's max_seq_len, ${model.maxSeqLen}: current value is ${seqLen}`,
      );
    }
    const file = args.optionalString("layers");
    const layers = file === undefined ? null : await importLayers(toFileUrl(resolve(file)).href);
    costs = {
      device: device.name,
      device_memory_bytes: device.memoryBytes,
      speed: device.speed,
      not_measured: device.notMeasured,
      ...costReport(model, {
        microBatch,
        seqLen,
        dtype: dtype as "float32" | "bfloat16",
        recompute: training?.recompute ?? "none",
        gradientDtype: training?.gradientDtype ?? "float32",
        state: asked.loaded?.config.optimizer.state ?? "fp32",
        statistics: asked.loaded === null ? null : countedStatistics(asked.loaded.config),
        samples: asked.loaded === null ? null : writtenSamples(asked.loaded.config),
        ...(training && { tokens: training.steps * training.tokensPerStep }),
        speed: device.speed,
        ...(layers !== null && { layers }),
      }),
      packed_projections: measurePackedProjections(model),
    };
  }
  if (args.boolean("json")) {
    printJson({ version: VERSION, commit, ...costs, found });
    return;
  }
  console.log(`TitanBit ${VERSION}${commit === null ? "" : `, commit ${commit}`}\n`);
  if (costs !== null) console.log(printable(formatCosts(costs, asked!.name)) + "\n");
  console.log(printable(formatFindings(found)));
}

/** The config's micro-batch, as training would choose it on this device; 1 without a config. */
function microBatchOn(device: FoundDevice, loaded: LoadedRunConfig | null): number {
  if (loaded === null) return 1;
  const { backend, name, memoryBytes, dtype } = device;
  if (backend === null || name === null || memoryBytes === null) {
    return loaded.config.training.microBatch;
  }
  return fitRun(loaded, { backend, name, memoryBytes, dtype }).config.training.microBatch;
}

interface AskedModel {
  name: string;
  model: BitNetConfig;
  loaded: LoadedRunConfig | null;
  device: DeviceKind;
}

async function askedModel(args: ParsedArgs): Promise<AskedModel | null> {
  const size = args.optionalString("model-size");
  const file = args.optionalString("config");
  const device = args.string("device") as DeviceKind;
  if (size !== undefined && file !== undefined) {
    throw new UsageError(
      "Cannot run info as --model-size and --config exclude each other: give one of them",
    );
  }
  if (file === undefined && args.list("set").length > 0) {
    throw new UsageError("Cannot run info as --set changes a config's keys: give --config too");
  }
  if (file !== undefined) {
    const loaded = await loadRunConfig(file, { set: args.list("set") });
    const { model, training } = loaded.config;
    return { name: file, model, loaded, device: args.has("device") ? device : training.device };
  }
  if (size === undefined) return null;
  const name = findPresetName(size);
  if (name === undefined) {
    throw new UsageError(
      `Cannot run info as --model-size is one of ${PRESET_NAMES.join(", ")}: current value is ${
        JSON.stringify(size)
      }${nearest(size, PRESET_NAMES)}`,
    );
  }
  return { name, model: new BitNetConfig(presetOptions(name)), loaded: null, device };
}

if (import.meta.main) await main(command);
