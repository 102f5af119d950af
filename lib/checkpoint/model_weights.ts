/**
 * Weights of a model in a program's own loop: saved to a folder in Hugging Face's form, and loaded
 * from one.
 *
 * @module
 */

import { NO_SPECIAL_TOKENS } from "../interop/huggingface.ts";
import { SafetensorsFile } from "../interop/safetensors.ts";
import { compareTensors, loadTensors } from "../interop/tensor_transfer.ts";
import type { BitNetConfig } from "../model/config.ts";
import type { BitNetTransformer } from "../model/transformer.ts";
import { asCheckpointErrors, CheckpointError } from "./errors.ts";
import { type ExportDType, type ExportedModel, writeModelFolder } from "./export_model.ts";
import { hideTiedHead, openModelFolder } from "./model_folder.ts";
import { requireOwnLayers } from "./own_layers.ts";
import { ownParametersOf, parameterTensors } from "./parameter_tensors.ts";
import { modelTensors } from "./save.ts";

/** Options of {@linkcode saveModel}. */
export interface SaveModelOptions {
  /** Written as tokenizer.json, and asked for the ids that begin and end a text. @default none */
  readonly tokenizer?: {
    readonly json: Uint8Array;
    readonly bosId: number | null;
    readonly eosId: number | null;
  } | null;
  /** Of the weights in the file; bfloat16 rounds to nearest even. @default "float32" */
  readonly dtype?: ExportDType;
}

/**
 * Settings by which the same weights are another function, as config.json and {@linkcode
 * BitNetConfig} name them.
 */
const MEANING = [
  ["num_attention_heads", "numHeads"],
  ["hidden_act", "hiddenAct"],
  ["rope_theta", "ropeTheta"],
  ["rms_norm_eps", "rmsNormEps"],
] as const satisfies readonly (readonly [string, keyof BitNetConfig])[];

/**
 * Saves a model's latent weights as a folder that `loadModel`, {@linkcode loadWeights} and `deno
 * task generate` take: model.safetensors under Hugging Face's names, config.json and, where one is
 * given, tokenizer.json. `output` must be new or empty; it appears whole or not at all. Kinds of
 * layers that are the program's own, and parameters that they added, are noted in config.json.
 *
 * @throws {CheckpointError} where `output` is something already or can't be written, or the model
 * has no latent weights.
 */
export async function saveModel(
  model: BitNetTransformer,
  output: string,
  { tokenizer = null, dtype = "float32" }: SaveModelOptions = {},
): Promise<Pick<ExportedModel, "files" | "bytes">> {
  const { config, parameters, ownLayers } = model;
  const tensors = parameterTensors(parameters);
  const ownParameters = ownParametersOf(config, parameters);
  const problems = compareTensors(
    new Map(tensors.map((tensor) => [tensor.name, tensor])),
    modelTensors(config, ownParameters),
  );
  if (problems.length > 0) {
    throw new CheckpointError(
      `Cannot save the model to ${output} as it must have BitNet's parameters: ${
        problems.join("; ")
      }; load it with packed: false, which keeps them`,
    );
  }
  return await writeModelFolder(output, {
    config,
    ownLayers,
    ownParameters,
    tensors,
    dtype,
    tokenizerJson: tokenizer?.json ?? null,
    specialTokens: tokenizer === null
      ? NO_SPECIAL_TOKENS
      : { bosTokenId: tokenizer.bosId, eosTokenId: tokenizer.eosId, padTokenId: null },
  });
}

/**
 * Fills a model's weights from a checkpoint, the newest sound one of a run's folder, a folder in
 * Hugging Face's form, or a .safetensors file. BF16 and F16 are widened, exactly. Moments of an
 * optimizer are left as they are.
 *
 * All is compared before a weight is touched: the names, shapes and dtypes of the tensors and,
 * where there is a config.json, settings by which they would be another function and layers of a
 * program's own.
 *
 * @throws {CheckpointError} naming what is missing, not part of the model, damaged, or of another
 * shape, dtype or value.
 */
export async function loadWeights(model: BitNetTransformer, path: string): Promise<void> {
  const sinks = parameterTensors(model.parameters);
  if (isFile(path)) {
    await asCheckpointErrors(`load weights of ${path}`, async () => {
      using file = SafetensorsFile.open(path);
      await loadTensors(await hideTiedHead(file, model.config), sinks);
    });
  } else {
    const folder = await openModelFolder(path);
    requireOwnLayers(folder, Object.fromEntries(model.ownLayers.map((kind) => [kind, true])), {
      trains: false, // the loop has the loss, which no weight depends on
    });
    const problems = MEANING.filter(([, field]) => folder.config[field] !== model.config[field])
      .map(([key, field]) =>
        `${key} must be the model's ${model.config[field]}: current value is ${
          folder.config[field]
        }`
      );
    if (problems.length > 0) {
      throw new CheckpointError(
        `Cannot load weights of ${folder.path} as they must mean the same to the model: ${
          problems.join("; ")
        }; create the model with these, or give the .safetensors file alone, which says nothing of them`,
      );
    }
    await folder.loadParameters(sinks);
  }
  model.parametersChanged();
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
