/**
 * Whether a run's model is the one that a checkpoint is of.
 *
 * @module
 */

import { CheckpointError } from "../checkpoint/errors.ts";
import type { Checkpoint } from "../checkpoint/open.ts";
import { requireOwnLayers } from "../checkpoint/own_layers.ts";
import { modelTensors } from "../checkpoint/save.ts";
import { compareTensors } from "../interop/tensor_transfer.ts";
import type { BitNetConfig } from "../model/config.ts";
import type { Layers } from "../model/layers.ts";

/** YAML keys of what decides which tensors a model has, and of which shapes. */
const KEYS = [
  ["vocab_size", "vocabSize"],
  ["hidden_size", "hiddenSize"],
  ["num_layers", "numLayers"],
  ["num_heads", "numHeads"],
  ["num_kv_heads", "numKvHeads"],
  ["intermediate_size", "intermediateSize"],
  ["tie_embeddings", "tieEmbeddings"],
] as const;

/**
 * Throws {@linkcode CheckpointError} naming the keys of `model` that give it other tensors than the checkpoint's, or the kinds of
 * layers that were a program's own there and are not now.
 */
export function checkResumedModel(
  checkpoint: Pick<Checkpoint, "path" | "config" | "ownLayers">,
  model: BitNetConfig,
  layers?: Partial<Layers>,
): void {
  requireOwnLayers(checkpoint, layers, { trains: true });
  const saved = new Map(modelTensors(checkpoint.config).map((tensor) => [tensor.name, tensor]));
  if (compareTensors(saved, modelTensors(model)).length === 0) return;
  const differing = KEYS.filter(([, name]) => checkpoint.config[name] !== model[name]);
  const rules = differing.map(([key, name]) =>
    `model.${key} must be ${checkpoint.config[name]}: current value is ${model[name]}`
  );
  throw new CheckpointError(
    `Cannot resume from ${checkpoint.path} as the model must be the one it holds: ${
      rules.join("; ")
    }; resume with its own values, or begin another run with --set checkpoint.run=NAME`,
  );
}
