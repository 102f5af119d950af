/**
 * How much memory training takes, from the model's own plan: the same code that lays the tensors out, run without a device.
 *
 * @module
 */

import { AdamW, type AdamWState } from "../optim/adamw.ts";
import type { ActivationDType } from "../tensor/dtype.ts";
import type { BitNetConfig } from "../model/config.ts";
import { BitNetTransformer } from "../model/transformer.ts";

/** Bytes by purpose. */
export interface MemoryPlan {
  /** Latent float32 weights, their ternary form and copies in the activation dtype. */
  readonly weights: number;
  readonly gradients: number;
  readonly optimizer: number;
  /** What the forward pass saves for the backward pass. */
  readonly activations: number;
  /** Scratch that layers share. */
  readonly workspace: number;
  readonly total: number;
}

/** Bytes that training takes with a micro-batch of so many sequences. */
export function planMemory(
  config: BitNetConfig,
  shape: {
    microBatch: number;
    seqLen: number;
    dtype?: ActivationDType;
    gradientDtype?: ActivationDType;
    state?: AdamWState;
  },
): MemoryPlan {
  const model = new BitNetTransformer(config, {
    training: true,
    ...(shape.dtype !== undefined && { dtype: shape.dtype }),
    ...(shape.gradientDtype !== undefined && { gradientDtype: shape.gradientDtype }),
  });
  const optimizer = new AdamW(model.parameters, { state: shape.state ?? "fp32" });
  const pass = model.plan({
    sequences: shape.microBatch,
    tokens: shape.seqLen,
    training: true,
  });
  const { weights: latent, gradients } = model.parameters.bytes;
  const weights = latent + model.derivedBytes;
  const { activations, workspace } = pass.memory.bytes;
  const total = weights + gradients + optimizer.bytes + activations + workspace;
  return { weights, gradients, optimizer: optimizer.bytes, activations, workspace, total };
}
