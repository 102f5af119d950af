/**
 * What a run trains with, on a device: the network, the optimizer, the pass over a micro-batch, and what counts the ternary weights.
 *
 * @module
 */

import type { RunConfig } from "../config/run_config.ts";
import type { Device } from "../ffi/device.ts";
import { ownParametersOf } from "../checkpoint/parameter_tensors.ts";
import { modelTensors } from "../checkpoint/save.ts";
import { compareTensors } from "../interop/tensor_transfer.ts";
import type { Layers } from "../model/layers.ts";
import type { Pass } from "../model/pass.ts";
import { BitNetTransformer } from "../model/transformer.ts";
import { AdamW } from "../optim/adamw.ts";
import { activationDtypeOf } from "./memory_plan.ts";
import { TernaryStatistics } from "./ternary_statistics.ts";

/** Everything of a run that takes device memory, but results. */
export interface TrainedModel {
  readonly model: BitNetTransformer;
  readonly optimizer: AdamW;
  readonly pass: Pass;
  /** `null` where `logging.ternary_every` is 0. */
  readonly statistics: TernaryStatistics | null;
}

/**
 * Takes the memory as `memory_plan.ts` plans it; `resources` owns it all. Weights are the seed's.
 *
 * Throws `TypeError` where `layers` leave out a parameter of BitNet's, or give it another shape;
 * `RangeError` where `optimizer.frozen` or `optimizer.lr_factors` name what the model doesn't have.
 */
export function createTrainedModel(
  config: RunConfig,
  parts: { device: Device; resources: DisposableStack; layers: Partial<Layers> | undefined },
): TrainedModel {
  const { device, resources, layers } = parts;
  const { training, optimizer: adamw, logging } = config;
  const model = resources.use(
    BitNetTransformer.create(config.model, {
      device,
      seed: training.seed,
      dtype: activationDtypeOf(config, device.activationDtype),
      gradientDtype: training.gradientDtype,
      ...(layers !== undefined && { layers }),
    }),
  );
  requireSavable(model);
  applyGroups(model, config);
  const optimizer = resources.use(
    new AdamW(model.parameters, {
      beta1: adamw.betas[0],
      beta2: adamw.betas[1],
      eps: adamw.eps,
      maxGradNorm: adamw.maxGradNorm,
      state: adamw.state,
    }),
  ).commit(device);
  const pass = resources.use(
    model.plan({
      sequences: training.microBatch,
      tokens: training.seqLen,
      training: true,
      recompute: training.recompute,
    }),
  ).commit(device);
  const statistics = logging.ternaryEvery === 0 ? null : resources.use(
    new TernaryStatistics(model, { pass, flipRate: logging.flipRate }),
  ).commit(device);
  return { model, optimizer, pass, statistics };
}

/** Freezes parameters and checks what has a rate of its own, as `optimizer` of the config says. */
function applyGroups({ parameters }: BitNetTransformer, { optimizer }: RunConfig): void {
  for (const pattern of optimizer.frozen ?? []) {
    try {
      parameters.freeze(pattern);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new RangeError(`optimizer.frozen: ${error.message}`, { cause: error });
    }
  }
  const groups = parameters.groups.map(({ group }) => group);
  for (const group of Object.keys(optimizer.lrFactors ?? {})) {
    if (groups.includes(group)) continue;
    throw new RangeError(
      `Cannot train with optimizer.lr_factors as it must name groups of the model, ${
        groups.join(", ")
      }: current value is ${group}`,
    );
  }
}

/**
 * Layers that are not the library's could leave out anything; said now, not at the first
 * checkpoint.
 */
function requireSavable({ config, parameters }: BitNetTransformer): void {
  const found = new Map(parameters.all.map(({ name, value: { shape } }) => {
    return [name, { name, shape, dtype: "F32" as const }];
  }));
  const problems = compareTensors(
    found,
    modelTensors(config, ownParametersOf(config, parameters)),
  );
  if (problems.length === 0) return;
  throw new TypeError(
    `Cannot train with these layers as a model must have the parameters of BitNet's own, whatever it adds to them: ${
      problems.join("; ")
    }; declare the weight of a projection with declareWeight`,
  );
}
