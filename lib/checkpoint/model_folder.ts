/**
 * Opening a model to run it: one of TitanBit's checkpoints, or any folder in Hugging Face's form that
 * holds config.json and model.safetensors (or its shards).
 *
 * @module
 */

import { join } from "@std/path";
import type { BitNetConfig } from "../model/config.ts";
import { InteropError } from "../interop/errors.ts";
import {
  type OwnParameter,
  readHuggingFaceConfig,
  type SpecialTokens,
} from "../interop/huggingface.ts";
import { ModelFiles } from "../interop/model_files.ts";
import { CHUNK_BYTES, type TensorReader, type TensorSink } from "../interop/safetensors.ts";
import type { TensorInfo } from "../interop/safetensors_header.ts";
import { canWiden, compareTensors, loadTensors } from "../interop/tensor_transfer.ts";
import { asCheckpointErrors, CheckpointError } from "./errors.ts";
import { listCheckpoints, type PassedOver } from "./find.ts";
import { FILES } from "./layout.ts";
import { compareFiles, readChecksums, readTokenizerJson } from "./open.ts";
import { isFolder } from "./run_folder.ts";
import { modelTensors } from "./save.ts";

const HEAD = "lm_head.weight";
const EMBEDDING = "model.embed_tokens.weight";
const CHECKED = [FILES.model, FILES.modelConfig, FILES.tokenizer];

/** A model that can be run. Holds no file open. */
export interface ModelFolder {
  /** The folder with the weights: `path` as given, or the checkpoint chosen inside it. */
  readonly path: string;
  readonly config: BitNetConfig;
  readonly specialTokens: SpecialTokens;
  /** Kinds of layers that were a program's own when it was trained. */
  readonly ownLayers: readonly string[];
  /** Parameters that those added to BitNet's. */
  readonly ownParameters: readonly OwnParameter[];
  /** tokenizer.json, byte for byte, or null when the folder has none. */
  readonly tokenizerJson: Uint8Array | null;
  /** Whether that is the copy that the checkpoint was saved with, as opposed to a file put there by somebody. */
  readonly tokenizerVerified: boolean;
  /** Newer checkpoints of a run's folder that were not taken, and why. */
  readonly passedOver: readonly PassedOver[];
  /**
   * Fills the parameters as float32; BF16 and F16 are widened, exactly.
   *
   * @throws {CheckpointError}, before anything is written, when the sinks are not exactly the model's
   * tensors.
   */
  loadParameters(sinks: readonly TensorSink[]): Promise<void>;
}

/**
 * Opens a model folder and compares its weights with its config. Files that a checksums.json covers
 * are verified against it; others are taken as they are.
 *
 * @param path A checkpoint, a Hugging Face folder, or a run's folder (`checkpoints/<run>`), of which
 * the newest checkpoint that verifies is taken.
 * @throws {CheckpointError} naming the file, key or tensor that is missing, damaged, of another shape,
 * or of a kind that this model does not have.
 */
export async function openModelFolder(path: string): Promise<ModelFolder> {
  if (isFolder(path) && !hasFile(path, FILES.modelConfig)) {
    const checkpoints = listCheckpoints(path).reverse();
    if (checkpoints.length > 0) return await openNewest(path, checkpoints.map((c) => c.path));
  }
  return await openOne(path, []);
}

async function openNewest(path: string, candidates: readonly string[]): Promise<ModelFolder> {
  const passedOver: PassedOver[] = [];
  for (const candidate of candidates) {
    try {
      return await openOne(candidate, passedOver);
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw error;
      passedOver.push({ path: candidate, reason: error.message });
    }
  }
  throw new CheckpointError(
    `Cannot open a model in ${path} as a checkpoint must verify: current value is ` +
      passedOver.map(({ reason }) => reason).join(", "),
  );
}

function openOne(path: string, passedOver: readonly PassedOver[]): Promise<ModelFolder> {
  return asCheckpointErrors(`open model ${path}`, async () => {
    const configPath = join(path, FILES.modelConfig);
    if (!hasFile(path, FILES.modelConfig)) {
      throw new CheckpointError(
        `Cannot open model ${path} as it must hold ${FILES.modelConfig}: current value is ` +
          `${isFolder(path) ? "no such file" : "no such folder"}; give a checkpoint, a run's ` +
          `folder, or a folder in Hugging Face's form`,
      );
    }
    const checksums = readChecksums(path);
    if (checksums !== null) {
      const problems = await compareFiles(path, checksums, { only: CHECKED, digests: true });
      if (problems.length > 0) {
        throw new CheckpointError(`Cannot open model ${path}: ${problems.join("; ")}`);
      }
    }
    const { config, specialTokens, ownLayers, ownParameters } = readHuggingFaceConfig(configPath);
    using files = ModelFiles.open(path);
    const reader = await hideTiedHead(files, config);
    const wanted = modelTensors(config, ownParameters);
    const problems = compareTensors(reader.tensors, wanted, { accepts: canWiden });
    if (problems.length > 0) {
      throw new CheckpointError(`Cannot open model ${path}: ${problems.join("; ")}`);
    }
    return {
      path,
      config,
      specialTokens,
      ownLayers,
      ownParameters,
      passedOver,
      tokenizerJson: hasFile(path, FILES.tokenizer) ? readTokenizerJson(path) : null,
      tokenizerVerified: checksums?.has(FILES.tokenizer) ?? false,
      loadParameters: (sinks) => loadFrom(path, config, sinks),
    };
  });
}

function loadFrom(
  path: string,
  config: BitNetConfig,
  sinks: readonly TensorSink[],
): Promise<void> {
  return asCheckpointErrors(`load model ${path}`, async () => {
    using files = ModelFiles.open(path);
    await loadTensors(config.tieEmbeddings ? hideHead(files) : files, sinks);
  });
}

/** Some programs save a tied head beside the embedding. It may be left out only if it is the same. */
export async function hideTiedHead(
  files: TensorReader,
  config: BitNetConfig,
): Promise<TensorReader> {
  const head = files.tensors.get(HEAD);
  const embedding = files.tensors.get(EMBEDDING);
  if (!config.tieEmbeddings || head === undefined || embedding === undefined) return files;
  if (!await sameBytes(files, head, embedding)) {
    throw new InteropError(
      `Cannot open model ${files.path} as tie_word_embeddings says that ${HEAD} is ${EMBEDDING}: ` +
        `current value is two tensors that differ; set it to false in config.json`,
    );
  }
  return hideHead(files);
}

function hideHead(files: TensorReader): TensorReader {
  const tensors = new Map(files.tensors);
  tensors.delete(HEAD);
  return {
    path: files.path,
    tensors,
    readInto: (name, into, byteOffset) => files.readInto(name, into, byteOffset),
  };
}

async function sameBytes(files: TensorReader, a: TensorInfo, b: TensorInfo): Promise<boolean> {
  const bytes = a.end - a.begin;
  if (a.dtype !== b.dtype || bytes !== b.end - b.begin) return false;
  const left = new Uint8Array(Math.min(CHUNK_BYTES, bytes));
  const right = new Uint8Array(left.length);
  for (let offset = 0; offset < bytes; offset += left.length) {
    const count = Math.min(left.length, bytes - offset);
    await files.readInto(a.name, left.subarray(0, count), offset);
    await files.readInto(b.name, right.subarray(0, count), offset);
    if (left.subarray(0, count).some((byte, i) => byte !== right[i])) return false;
  }
  return true;
}

function hasFile(folder: string, name: string): boolean {
  try {
    return Deno.statSync(join(folder, name)).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
