/**
 * A trained model as a folder in Hugging Face's form: weights, config.json and tokenizer.json, without what only a run needs.
 *
 * @module
 */

import { basename, dirname, join, resolve } from "@std/path";
import { formatHuggingFaceConfig } from "../interop/huggingface.ts";
import { ModelFiles } from "../interop/model_files.ts";
import {
  CHUNK_BYTES,
  type StreamedTensor,
  type TensorSource,
  type WrittenFile,
} from "../interop/safetensors.ts";
import { DTYPE_BITS } from "../interop/safetensors_header.ts";
import { narrowToBfloat16, widenToFloat32 } from "../interop/tensor_transfer.ts";
import { CheckpointError, errnoOf } from "./errors.ts";
import type { PassedOver } from "./find.ts";
import { FILES } from "./layout.ts";
import { type ModelFolder, openModelFolder } from "./model_folder.ts";
import { removeQuietly, syncFolder } from "./run_folder.ts";
import { modelTensors, writeTensors, writeWhole } from "./save.ts";

/** What exported weights are kept in. */
export type ExportDType = "float32" | "bfloat16";

/** What an export did. */
export interface ExportedModel {
  /** The folder that was exported: the one given, or the checkpoint chosen inside it. */
  readonly path: string;
  /** Names of the files written. */
  readonly files: readonly string[];
  /** Bytes of all of them. */
  readonly bytes: number;
  /** Newer checkpoints of a run's folder that were not taken, and why. */
  readonly passedOver: readonly PassedOver[];
  /**
   * Kinds of layers that were a program's own: without these the weights mean nothing, to
   * transformers least of all.
   */
  readonly ownLayers: readonly string[];
}

/**
 * Exports the latent weights of a checkpoint, of the newest sound one of a run's folder, or of a folder in Hugging Face's form. `output`
 * appears whole or not at all.
 *
 * bfloat16 rounds to nearest even. That can move a latent weight over a threshold of its quantiser, and so a ternary value.
 *
 * @throws {CheckpointError} where `path` is no sound model, `output` is something already, or can't be written.
 */
export async function exportModel(
  path: string,
  output: string,
  { dtype = "float32" }: { dtype?: ExportDType } = {},
): Promise<ExportedModel> {
  requireFree(output);
  const folder = await openModelFolder(path);
  using weights = ModelFiles.open(folder.path);
  const tensors = modelTensors(folder.config, folder.ownParameters).map(({ name, shape }) => ({
    name,
    shape,
    dtype: weights.tensors.get(name)!.dtype,
    read: (into: Uint8Array, at: number) => weights.readInto(name, into, at),
  }));
  const written = await writeModelFolder(output, { ...folder, tensors, dtype });
  const { passedOver, ownLayers } = folder;
  return { path: folder.path, passedOver, ownLayers, ...written };
}

/** What {@linkcode writeModelFolder} writes. */
export interface WrittenModel
  extends Pick<ModelFolder, "config" | "specialTokens" | "ownLayers" | "ownParameters"> {
  readonly tokenizerJson: Uint8Array | null;
  /** F32, or what widens to it. */
  readonly tensors: readonly (StreamedTensor | TensorSource)[];
  /** What they are written as. */
  readonly dtype: ExportDType;
}

/**
 * Writes a model as a folder in Hugging Face's form, which appears whole or not at all.
 *
 * @throws {CheckpointError} where `output` is something already, or can't be written.
 */
export async function writeModelFolder(
  output: string,
  model: WrittenModel,
): Promise<Pick<ExportedModel, "files" | "bytes">> {
  requireFree(output);
  const target = resolve(output);
  const temporary = join(dirname(target), `.${basename(target)}.tmp-${Deno.pid}`);
  try {
    Deno.mkdirSync(temporary, { recursive: true });
    const written = await writeFiles(temporary, model);
    syncFolder(temporary);
    Deno.renameSync(temporary, target); // takes the place of an empty folder, of nothing else
    syncFolder(dirname(target));
    return written;
  } catch (error) {
    removeQuietly(temporary);
    if (errnoOf(error) === null) throw error;
    throw new CheckpointError(
      `Cannot export to ${output} as there must be room and leave to write there: current value is ${
        (error as Error).message
      }; nothing was left there, name another folder`,
      { cause: error },
    );
  }
}

async function writeFiles(
  at: string,
  { config, specialTokens, ownLayers, ownParameters, tokenizerJson, tensors, dtype }: WrittenModel,
): Promise<Pick<ExportedModel, "files" | "bytes">> {
  const room = new Uint8Array(2 * CHUNK_BYTES); // of a chunk as it comes, at most twice as wide
  const wanted = dtype === "float32" ? "F32" : "BF16";
  const converting = tensors.map((tensor) => converted(tensor, wanted, room));
  const written = new Map<string, WrittenFile>([[
    FILES.model,
    await writeTensors(join(at, FILES.model), converting),
  ]]);
  const described = { dtype, ownLayers, ownParameters };
  const texts: [string, string | Uint8Array][] = [
    [FILES.modelConfig, formatHuggingFaceConfig(config, specialTokens, described)],
  ];
  if (tokenizerJson !== null) texts.push([FILES.tokenizer, tokenizerJson]);
  for (const [name, data] of texts) written.set(name, writeWhole(join(at, name), data));
  return {
    files: [...written.keys()],
    bytes: written.values().reduce((sum, file) => sum + file.bytes, 0),
  };
}

/** An export replaces nothing: what lies there may be another model. */
function requireFree(output: string): void {
  let found: string;
  try {
    const { isDirectory } = Deno.statSync(output);
    if (isDirectory && Deno.readDirSync(output)[Symbol.iterator]().next().done) return;
    found = isDirectory ? "a folder with files in it" : "a file";
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    if (error instanceof Deno.errors.NotADirectory) found = "a name below a file";
    else if (error instanceof Deno.errors.NotCapable) found = "one that the program may not touch";
    else if (errnoOf(error) !== null) found = (error as Error).message;
    else throw error;
  }
  throw new CheckpointError(
    `Cannot export to ${output} as it must be a new folder, or an empty one: current value is ${found}; name another`,
  );
}

/** A tensor in another dtype, read as it is asked for; one at a time goes through `room`. */
function converted(
  tensor: StreamedTensor | TensorSource,
  wanted: "F32" | "BF16",
  room: Uint8Array<ArrayBuffer>,
): StreamedTensor | TensorSource {
  const { dtype } = tensor;
  if (dtype === wanted) return tensor;
  const ratio = DTYPE_BITS[dtype] / DTYPE_BITS[wanted];
  return {
    ...tensor,
    dtype: wanted,
    async read(into, at) {
      const raw = room.subarray(0, into.length * ratio);
      await tensor.read(raw, at * ratio);
      const wide = dtype === "F32" ? raw : widenToFloat32(raw, dtype);
      into.set(wanted === "F32" ? wide : narrowToBfloat16(wide));
    },
  };
}
