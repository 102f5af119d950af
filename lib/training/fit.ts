/**
 * Makes a run fit a device's memory, or says what would.
 *
 * @module
 */

import type { LoadedRunConfig } from "../config/load.ts";
import { largestDivisor } from "../config/resolve.ts";
import {
  GRADIENT_DTYPES,
  OPTIMIZER_STATES,
  RECOMPUTE,
  type RunConfig,
} from "../config/run_config.ts";
import type { Layers } from "../model/layers.ts";
import type { ActivationDType } from "../tensor/dtype.ts";
import {
  activationDtypeOf,
  describePlan,
  gib,
  type MemoryPlan,
  memoryShapeOf,
  planMemory,
} from "./memory_plan.ts";

/** What is known of a device before it is opened. */
export interface TrainingDevice {
  readonly backend: "cuda" | "cpu";
  readonly name: string;
  readonly memoryBytes: number;
  /** Dtype of its activations unless the config names one. */
  readonly dtype: ActivationDType;
}

/** The run does not fit the device's memory. */
export class MemoryError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "MemoryError";
  }
}

const GIB = 2 ** 30;
/** Of a card's memory, what the driver's context, the library's scratch, recorded graphs and cuBLASLt take beside the plan. */
const CARD_RESERVE = 1.5 * GIB;
/** The same of what is free once the context is there. */
const OPEN_RESERVE = 0.5 * GIB;

/**
 * Completes a run for a device: where the config left `training.micro_batch` open, a card takes the largest divisor of the batch
 * whose plan fits its whole memory. It depends on the card alone, not on what else uses it, so that a resumed run goes on with
 * the same one. A CPU keeps the config's choice: memory is not what limits it.
 */
export function fitRun(
  loaded: LoadedRunConfig,
  device: TrainingDevice,
  options: { layers?: Partial<Layers> } = {},
): LoadedRunConfig {
  const open = loaded.defaults.some(({ key }) => key === "training.micro_batch");
  if (!open || device.backend === "cpu") return loaded;
  const { config } = loaded;
  const dtype = activationDtypeOf(config, device.dtype);
  const limit = device.memoryBytes - CARD_RESERVE;
  const microBatch = largestMicroBatch(config, { ...options, dtype, limit }) ?? 1;
  return {
    ...loaded,
    config: withMicroBatch(config, microBatch),
    defaults: loaded.defaults.map((choice) =>
      choice.key !== "training.micro_batch" ? choice : {
        ...choice,
        value: microBatch,
        reason: `largest divisor of ${config.training.batchSequences} sequences that fits the ${
          gib(device.memoryBytes)
        } GiB of ${device.name}`,
      }
    ),
  };
}

/** Memory that a run plans to take on a device that computes in `deviceDtype` by itself. */
export function planRun(
  config: RunConfig,
  deviceDtype: ActivationDType,
  options: { layers?: Partial<Layers> } = {},
): MemoryPlan {
  const dtype = activationDtypeOf(config, deviceDtype);
  return planMemory(config.model, memoryShapeOf(config, dtype, options));
}

/**
 * Checks a run, with the layers it takes in the place of BitNet's own, against what an open device has free.
 *
 * @throws {MemoryError} With the plan and the settings that would fit, the least costly first.
 */
export function requireMemory(
  config: RunConfig,
  device: TrainingDevice & { freeBytes: number },
  options: { layers?: Partial<Layers> } = {},
): void {
  const plan = planRun(config, device.dtype, options);
  // A CPU's pages can be won back from caches: the machine's whole memory is the limit there.
  const limit = device.backend === "cpu" ? device.memoryBytes : device.freeBytes - OPEN_RESERVE;
  if (plan.total <= limit) return;
  const fitting = settingsThatFit(config, {
    ...options,
    dtype: device.dtype,
    limit,
    backend: device.backend,
  });
  const remedy = fitting.length === 0
    ? "no setting makes it fit: take a smaller model, a shorter training.seq_len or a larger device"
    : "what would fit, the least costly first:\n" + fitting.map((line) => `  ${line}`).join("\n");
  throw new MemoryError(
    `Cannot train on ${device.name} as the run must fit the ${
      gib(limit)
    } GiB that are free for it: ` +
      `its plan takes ${describePlan(plan)}; ${remedy}`,
  );
}

/** Changes of a run that make it fit, as `--set` arguments and the memory they lead to. */
function settingsThatFit(
  config: RunConfig,
  options: {
    dtype: ActivationDType;
    limit: number;
    backend: "cuda" | "cpu";
    layers?: Partial<Layers>;
  },
): string[] {
  const { dtype, limit, backend } = options;
  const layers = options.layers === undefined ? {} : { layers: options.layers };
  const from = <Value>(values: readonly Value[], value: Value) =>
    values.slice(values.indexOf(value));
  const { training, optimizer, logging } = config;
  const gradients = backend === "cpu" ? [training.gradientDtype] : from(
    GRADIENT_DTYPES,
    training.gradientDtype,
  );
  const lines: string[] = [];
  let best = 0; // a costlier setting is worth telling where it allows a larger micro-batch
  for (const state of from(OPTIMIZER_STATES, optimizer.state)) {
    for (const gradientDtype of gradients) {
      for (const recompute of from(RECOMPUTE, training.recompute)) {
        const changed: RunConfig = {
          ...config,
          // What changes no bit of the training goes first.
          logging: { ...logging, flipRate: false, samples: { ...logging.samples, everySteps: 0 } },
          training: { ...training, recompute, gradientDtype },
          optimizer: { ...optimizer, state },
        };
        const microBatch = largestMicroBatch(changed, {
          dtype: activationDtypeOf(config, dtype),
          limit,
          most: training.microBatch,
          ...layers,
        });
        if (microBatch === null || microBatch <= best) continue;
        best = microBatch;
        const sets = [
          ["logging.flip_rate", logging.flipRate, false],
          ["logging.samples.every_steps", logging.samples.everySteps, 0],
          ["optimizer.state", optimizer.state, state],
          ["training.gradient_dtype", training.gradientDtype, gradientDtype],
          ["training.recompute", training.recompute, recompute],
          ["training.micro_batch", training.microBatch, microBatch],
        ].flatMap(([key, old, value]) => old === value ? [] : [`--set ${key}=${value}`]);
        const plan = planRun(withMicroBatch(changed, microBatch), dtype, layers);
        lines.push(`${sets.join(" ")} (${gib(plan.total)} GiB)`);
      }
    }
  }
  return lines;
}

/** The largest divisor of the batch, up to `most`, whose plan is within `limit` bytes; `null` where there is none. */
function largestMicroBatch(
  config: RunConfig,
  options: { dtype: ActivationDType; limit: number; most?: number; layers?: Partial<Layers> },
): number | null {
  const { dtype, limit } = options;
  const { batchSequences } = config.training;
  let microBatch = largestDivisor(batchSequences, options.most ?? batchSequences);
  while (true) {
    const shape = { ...memoryShapeOf(config, dtype, options), microBatch };
    if (planMemory(config.model, shape).total <= limit) return microBatch;
    if (microBatch === 1) return null;
    microBatch = largestDivisor(batchSequences, microBatch - 1);
  }
}

function withMicroBatch(config: RunConfig, microBatch: number): RunConfig {
  const { training } = config;
  const accumulationSteps = training.batchSequences / microBatch;
  return { ...config, training: { ...training, microBatch, accumulationSteps } };
}
