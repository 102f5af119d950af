/**
 * What a run trains with, on a device: the network, the optimizer, the pass over a micro-batch, and what counts the ternary weights.
 *
 * @module
 */

import type { RunConfig } from "../config/run_config.ts";
import type { Device } from "../ffi/device.ts";
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
 * Throws `TypeError` where `layers` give the model other parameters than a checkpoint holds.
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

/** Layers that are not the library's could declare anything; said now, not at the first checkpoint. */
function requireSavable(model: BitNetTransformer): void {
  const found = new Map(model.parameters.all.map(({ name, value: { shape } }) => {
    return [name, { name, shape, dtype: "F32" as const }];
  }));
  const problems = compareTensors(found, modelTensors(model.config));
  if (problems.length === 0) return;
  throw new TypeError(
    `Cannot train with these layers as a checkpoint holds the parameters of BitNet's own: ${
      problems.join("; ")
    }; declare the weight of a projection with declareWeight, and nothing else`,
  );
}
