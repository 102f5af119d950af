/**
 * Loading a trained model to run it.
 *
 * @module
 */

import { basename, join } from "@std/path";
import { CheckpointError, checkpointJson } from "../checkpoint/errors.ts";
import type { PassedOver } from "../checkpoint/find.ts";
import { FILES, stepFolderName } from "../checkpoint/layout.ts";
import { requireOwnLayers } from "../checkpoint/own_layers.ts";
import { type ModelFolder, openModelFolder } from "../checkpoint/model_folder.ts";
import { parameterTensors } from "../checkpoint/parameter_tensors.ts";
import type { Device, DeviceOptions } from "../ffi/device.ts";
import type { DeviceKind } from "../ffi/library.ts";
import type { SpecialTokens } from "../interop/huggingface.ts";
import type { BitNetConfig } from "../model/config.ts";
import { Head } from "../model/head.ts";
import type { LayerContext, Layers } from "../model/layers.ts";
import type { StackedParameter } from "../model/parameters.ts";
import type { ProjectionSpec } from "../model/projection.ts";
import { BitNetTransformer } from "../model/transformer.ts";
import { TokenizerError } from "../tokenizer/errors.ts";
import { startTokenBeside } from "../tokenizer/start_of_text.ts";
import { type Tokenizer, tokenizerFromJson } from "../tokenizer/tokenizer.ts";
import { Int8Head } from "./int8_head.ts";
import { PackedBitLinear, WeightPacker } from "./packed_linear.ts";
import { MAX_RUN_CONFIG_BYTES, parseRunConfigYaml } from "../checkpoint/run_config_yaml.ts";
import { describeValue } from "../std/describe.ts";
import { readTextUpTo } from "../std/json.ts";

/** Options of {@linkcode loadModel}. */
export interface LoadModelOptions {
  /** A device of the caller's, or which one to open. @default "auto" */
  readonly device?: Device | DeviceKind | DeviceOptions;
  /**
   * Whether ternary weights are kept in 2 bits, without their latent values; they give the same numbers to the last bit. A
   * model without ternary weights is loaded as it is. @default true
   */
  readonly packed?: boolean;
  /**
   * Weights of the head: as trained, which where activations are bfloat16 is rounded to that; bfloat16, where activations are; int8
   * with a factor a row, a quarter of float32's bytes to read a token, which changes logits a little (docs/numerics.md); or, with
   * `auto`, int8 where activations are float32, as on the CPU. Losses are always the first's. @default "float32"
   */
  readonly head?: HeadWeights | "auto";
  /**
   * Layers that the model was trained with in the place of BitNet's own. Where a projection is among them, weights are kept as that
   * keeps them, not packed; a head among them goes before `head`. @default none
   */
  readonly layers?: Partial<Layers>;
}

/** What the head's weights are kept in. */
export type HeadWeights = "float32" | "bfloat16" | "int8";

/**
 * Makes the head with these weights. Throws `RangeError` for bfloat16 where activations are float32: products take both operands in one
 * dtype.
 */
export function createHead(
  weights: HeadWeights,
  context: LayerContext,
  embedding: StackedParameter,
): Head {
  if (weights === "int8") return new Int8Head(context, embedding);
  if (weights === "bfloat16" && context.dtype !== "bfloat16") {
    throw new RangeError(
      `Cannot keep the head in bfloat16 as its product takes activations of the same dtype: current dtype is ${context.dtype}, as on ` +
        `the CPU; take float32, or int8, which reads a quarter`,
    );
  }
  return new Head(context, embedding); // which takes a copy in the activations' dtype
}

/** A model that is ready to run, with what came beside it. It owns model and tokenizer: hold it with `using`. */
export interface LoadedModel extends Disposable {
  readonly model: BitNetTransformer;
  readonly config: BitNetConfig;
  /** Null where the folder holds no tokenizer.json. */
  readonly tokenizer: Tokenizer | null;
  readonly specialTokens: SpecialTokens;
  /** The folder that was loaded: the one given, or the checkpoint chosen inside it. */
  readonly path: string;
  /** Optimizer steps the model was trained for, where the folder is a checkpoint that says so in its name. */
  readonly step: number | null;
  /** Tokens a sequence the model was trained on, where its run says so, else `config.maxSeqLen`. */
  readonly contextLength: number;
  /** Newer checkpoints of a run's folder that were not taken, and why. */
  readonly passedOver: readonly PassedOver[];
  /** What makes it doubtful whether the tokenizer is the model's; null where nothing does. */
  readonly tokenizerDoubt: string | null;
}

/**
 * Loads a checkpoint, the newest sound one of a run's folder, or a folder in Hugging Face's form.
 *
 * Latent weights are read, quantised and packed matrix by matrix: beside the finished model there is never more than the
 * largest of them in memory.
 *
 * @throws {CheckpointError} naming what is missing, damaged or of another shape, before a device is opened;
 * {@linkcode NativeError} where the device can't be opened or lacks the memory; {@linkcode TokenizerError} for a broken
 * tokenizer.json, or one of more ids than the model that the checkpoint was not saved with.
 */
export async function loadModel(
  path: string,
  options: LoadModelOptions = {},
): Promise<LoadedModel> {
  const folder = await openModelFolder(path);
  const contextLength = Math.min(folder.config.maxSeqLen, trainedOn(folder.path) ?? Infinity);
  const model = await loadWeights(folder, options);
  try {
    const tokenizer = await loadTokenizer(folder, model);
    if (tokenizer !== null) requireFits(tokenizer, folder);
    return {
      model,
      tokenizer,
      config: folder.config,
      specialTokens: folder.specialTokens,
      path: folder.path,
      passedOver: folder.passedOver,
      tokenizerDoubt: tokenizer === null ? null : tokenizerDoubt(tokenizer, folder),
      step: stepOf(folder.path),
      contextLength,
      [Symbol.dispose]() {
        tokenizer?.[Symbol.dispose]();
        model[Symbol.dispose]();
      },
    };
  } catch (error) {
    model[Symbol.dispose]();
    throw error;
  }
}

async function loadTokenizer(
  { path, tokenizerJson }: ModelFolder,
  model: BitNetTransformer,
): Promise<Tokenizer | null> {
  if (tokenizerJson === null) return null;
  const name = join(path, FILES.tokenizer);
  const startToken = startTokenBeside(name);
  return await tokenizerFromJson(tokenizerJson, {
    name,
    library: model.device.library,
    ...(startToken !== undefined && { startToken }),
  });
}

/** The copy that a run saved is taken as it is: the run could use it. */
function requireFits(tokenizer: Tokenizer, folder: ModelFolder): void {
  const { path, config, tokenizerVerified } = folder;
  if (tokenizerVerified || tokenizer.vocabSize <= config.vocabSize) return;
  const file = join(path, FILES.tokenizer);
  tokenizer[Symbol.dispose]();
  throw new TokenizerError(
    `Cannot use ${file} with the model beside it as it has ${tokenizer.vocabSize} ids: the model's vocabulary has ` +
      `${config.vocabSize}. It is not the one that the model was trained with: put that one there, or remove it`,
    { file },
  );
}

/** Vocabularies of models are rounded up, by a few per cent at most; a smaller share than this is another tokenizer. */
const LEAST_SHARE = 0.9;

function tokenizerDoubt(tokenizer: Tokenizer, folder: ModelFolder): string | null {
  const { path, config, tokenizerVerified } = folder;
  const { vocabSize } = tokenizer;
  // The copy that a run saved is the right one, however few of the model's ids it uses.
  if (tokenizerVerified || vocabSize >= LEAST_SHARE * config.vocabSize) return null;
  return `${
    join(path, FILES.tokenizer)
  } has ${vocabSize} ids, the model's vocabulary ${config.vocabSize}, and the checkpoint was not ` +
    "saved with it: it may not be the one that the model was trained with";
}

/** Ids that end a text: the ones config.json names, and the tokenizer's own. */
export function endIds(loaded: LoadedModel): Set<number> {
  const named = loaded.specialTokens.eosTokenId;
  const ids = new Set(named === null ? [] : typeof named === "number" ? [named] : named);
  const own = loaded.tokenizer?.eosId ?? null;
  if (own !== null) ids.add(own);
  return ids;
}

async function loadWeights(
  folder: ModelFolder,
  options: LoadModelOptions,
): Promise<BitNetTransformer> {
  requireOwnLayers(folder, options.layers, { trains: false });
  const projections: PackedBitLinear[] = [];
  const { layers = {} } = options;
  const packed = (options.packed ?? true) && folder.config.quantization === "ternary" &&
    layers.projection === undefined;
  const model = BitNetTransformer.create(folder.config, {
    training: false,
    seed: null,
    device: options.device ?? "auto",
    ownLayers: Object.keys(layers),
    layers: {
      ...(packed && {
        projection(spec: ProjectionSpec) {
          const projection = new PackedBitLinear(spec);
          projections.push(projection);
          return projection;
        },
      }),
      head: (context, embedding) => {
        const { head = "float32" } = options;
        const automatic = context.dtype === "float32" ? "int8" : "float32";
        return createHead(head === "auto" ? automatic : head, context, embedding);
      },
      ...layers,
    },
  });
  try {
    const weights = projections.flatMap((projection) => projection.weights);
    using packer = new WeightPacker(model.device, weights);
    await folder.loadParameters([
      ...parameterTensors(model.parameters),
      ...weights.map((weight) => packer.sink(weight)),
    ]);
    if (packer.left > 0) {
      throw new Error(`${packer.left} weights of ${folder.path} did not arrive whole`);
    }
    model.parametersChanged();
    return model;
  } catch (error) {
    model[Symbol.dispose]();
    throw error;
  }
}

function stepOf(path: string): number | null {
  const digits = /^step_(\d+)$/.exec(basename(path))?.[1];
  const step = Number(digits);
  return digits !== undefined && stepFolderName(step) === basename(path) ? step : null;
}

/** What is read of a run's config.yaml. */
type RunConfigYaml = { readonly training?: { readonly seq_len?: unknown } } | null;

/** The sequence length of the run that a checkpoint is of: `training.seq_len` of its config.yaml. */
function trainedOn(path: string): number | null {
  const file = join(path, FILES.runConfig);
  let text: string;
  try {
    text = readTextUpTo(checkpointJson(file, { maxBytes: MAX_RUN_CONFIG_BYTES }));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
  const seqLen = (parseRunConfigYaml(text, file) as RunConfigYaml)?.training?.seq_len ?? null;
  if (seqLen === null) return null;
  if (!Number.isSafeInteger(seqLen) || (seqLen as number) < 1) {
    throw new CheckpointError(
      `Cannot read ${file} as training.seq_len must be a whole number above 0: current value is ${
        describeValue(seqLen)
      }`,
    );
  }
  return seqLen as number;
}
