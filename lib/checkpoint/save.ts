/**
 * Saving a checkpoint: written beside its final name, synced, renamed. A save that fails, or a
 * process that dies in it, leaves the earlier checkpoints as they were.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { basename, join } from "@std/path";
import type { BitNetConfig } from "../model/config.ts";
import {
  formatHuggingFaceConfig,
  NO_SPECIAL_TOKENS,
  type OwnParameter,
  parameterShapes,
  type SpecialTokens,
} from "../interop/huggingface.ts";
import {
  type StreamedTensor,
  type TensorSource,
  writeSafetensors,
  type WrittenFile,
} from "../interop/safetensors.ts";
import type { TensorSpec } from "../interop/safetensors_header.ts";
import { compareTensors } from "../interop/tensor_transfer.ts";
import { formatChecksums } from "./checksums.ts";
import { CheckpointError, ERRNO, errnoOf } from "./errors.ts";
import { FILES, stepFolderName } from "./layout.ts";
import { type ModelTensor, optimizerState, optimizerTensors } from "./optimizer_tensors.ts";
import {
  inProgressPath,
  publishFolder,
  removeQuietly,
  syncFolder,
  withRunFolder,
} from "./run_folder.ts";
import { encodeState } from "./state_json.ts";

export type { TensorSource } from "../interop/safetensors.ts";

/** How far a run has come; a trainer's state has these fields and its own. */
export interface TrainerProgress {
  /** Optimizer steps taken. */
  readonly step: number;
  /** Tokens trained on. */
  readonly tokens: number;
}

/** Everything that a run needs to go on, bit for bit. */
export interface CheckpointContent<S extends TrainerProgress = TrainerProgress> {
  /** Optimizer steps taken; names the folder. Equals `state.step`. */
  readonly step: number;
  readonly model: BitNetConfig;
  /**
   * The parameters, under the names and shapes of `modelTensors(model, ownParameters)`, in any
   * order.
   */
  readonly parameters: readonly TensorSource[];
  /**
   * AdamW's state, as {@linkcode optimizerTensors} has it. Empty: no optimizer is saved, and training cannot
   * resume from the checkpoint.
   */
  readonly optimizer: readonly TensorSource[];
  /** Plain data: numbers (NaN and the infinities too), bigints, strings, booleans, arrays, objects. */
  readonly state: S;
  /** The resolved run configuration as YAML. */
  readonly runConfig: string;
  /** The tokenizer.json that the data was made with, byte for byte. */
  readonly tokenizerJson: Uint8Array | null;
  /** @default none */
  readonly specialTokens?: SpecialTokens;
  /** Kinds of layers that are a program's own. @default none */
  readonly ownLayers?: readonly string[];
  /** Parameters that those added to BitNet's. @default none */
  readonly ownParameters?: readonly OwnParameter[];
}

/** What a save did. */
export interface SavedCheckpoint {
  /** The checkpoint's folder. */
  readonly path: string;
  /** Bytes of all files. */
  readonly bytes: number;
  /** Milliseconds from call to the folder being safe on the disk. */
  readonly ms: number;
  /** That it is there, whole, but a power failure may take it away, and why; null where it is safe. */
  readonly unsafe: string | null;
}

/**
 * Saves a checkpoint as `<runFolder>/step_<step>/`, replacing one of the same step.
 *
 * Tensors are read one chunk at a time in one pass, so `parameters` and `optimizer` must stay as they
 * are until the promise settles.
 *
 * @throws {CheckpointError} when the files cannot be written (no room, no permission) or another
 * process is writing in the run's folder; nothing half-written stays and the earlier checkpoints are
 * untouched. {@linkcode RangeError} or `TypeError`, before anything is written, when the tensors do
 * not fit the model or the state is not plain data. What a source throws passes through.
 */
export async function saveCheckpoint<S extends TrainerProgress>(
  runFolder: string,
  content: CheckpointContent<S>,
): Promise<SavedCheckpoint> {
  const started = performance.now();
  checkContent(content);
  const texts: [string, string | Uint8Array][] = [
    [
      FILES.modelConfig,
      formatHuggingFaceConfig(content.model, content.specialTokens ?? NO_SPECIAL_TOKENS, {
        ownLayers: content.ownLayers ?? [],
        ownParameters: content.ownParameters ?? [],
      }),
    ],
    [FILES.state, encodeState(content.state)],
    [FILES.runConfig, content.runConfig],
  ];
  if (content.tokenizerJson !== null) texts.push([FILES.tokenizer, content.tokenizerJson]);

  const path = join(runFolder, stepFolderName(content.step));
  const temporary = inProgressPath("tmp", path);
  let current = basename(runFolder); // for the message
  let unsynced: string | null = null;
  const checksums = new Map<string, WrittenFile>();

  async function writeAll(): Promise<number> {
    current = basename(temporary);
    Deno.mkdirSync(temporary);
    for (const [name, data] of texts) {
      current = name;
      checksums.set(name, writeWhole(join(temporary, name), data));
    }
    for (const [name, tensors] of tensorFiles(content)) {
      current = name;
      checksums.set(name, await writeTensors(join(temporary, name), tensors));
    }
    current = FILES.checksums;
    const list = writeWhole(join(temporary, FILES.checksums), formatChecksums(checksums));
    current = basename(path);
    syncFolder(temporary);
    unsynced = publishFolder(temporary, path);
    return checksums.values().reduce((sum, file) => sum + file.bytes, list.bytes);
  }

  try {
    const bytes = await withRunFolder(runFolder, async () => {
      try {
        return await writeAll();
      } catch (error) {
        removeQuietly(temporary);
        throw error;
      }
    });
    return {
      path,
      bytes,
      ms: performance.now() - started,
      unsafe: unsynced === null ? null : unsafeText(path, unsynced),
    };
  } catch (error) {
    if (errnoOf(error) !== null) throw saveError(path, current, error as Error);
    throw error;
  }
}

/**
 * The tensors that a model's `model.safetensors` holds; those of layers of a program's own with
 * their group.
 */
export function modelTensors(
  config: BitNetConfig,
  ownParameters: readonly OwnParameter[] = [],
): ModelTensor[] {
  return [...parameterShapes(config), ...ownParameters].map((parameter) => ({
    ...parameter,
    dtype: "F32",
  }));
}

function checkContent<S extends TrainerProgress>(content: CheckpointContent<S>): void {
  const { step, state } = content;
  if (!Number.isSafeInteger(step) || step < 0) {
    throw new RangeError(
      `Cannot save a checkpoint as its step must be a whole number: current value is ${step}`,
    );
  }
  if (state.step !== step) {
    throw new RangeError(
      `Cannot save a checkpoint as its state must be of step ${step}: current value is ${state.step}`,
    );
  }
  const wanted = modelTensors(content.model, content.ownParameters);
  checkTensors("parameters", content.parameters, wanted);
  if (content.optimizer.length > 0) {
    const state = optimizerState(content.optimizer);
    checkTensors("optimizer", content.optimizer, optimizerTensors(wanted, state));
  }
}

function checkTensors(
  what: string,
  found: readonly TensorSource[],
  wanted: readonly TensorSpec[],
): void {
  const byName = new Map(found.map((tensor) => [tensor.name, tensor]));
  const problems = compareTensors(byName, wanted);
  if (byName.size !== found.length) problems.push("a name is given twice");
  if (problems.length > 0) {
    throw new RangeError(
      `Cannot save a checkpoint as its ${what} must be those of the model: ${problems.join("; ")}`,
    );
  }
}

function tensorFiles<S extends TrainerProgress>(
  content: CheckpointContent<S>,
): [string, readonly TensorSource[]][] {
  const files: [string, readonly TensorSource[]][] = [[FILES.model, content.parameters]];
  if (content.optimizer.length > 0) files.push([FILES.optimizer, content.optimizer]);
  return files;
}

/** Writes a new file of tensors, down to the disk. */
export async function writeTensors(
  path: string,
  tensors: readonly (TensorSource | StreamedTensor)[],
): Promise<WrittenFile> {
  using file = Deno.openSync(path, { write: true, createNew: true });
  const written = await writeSafetensors(file, tensors);
  await file.sync();
  return written;
}

/** Writes a new file, down to the disk. */
export function writeWhole(path: string, data: string | Uint8Array): WrittenFile {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  using file = Deno.openSync(path, { write: true, createNew: true });
  for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
  file.syncSync();
  return { bytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
}

function unsafeText(path: string, reason: string): string {
  return `Checkpoint ${path} is there and whole, but a power failure may take it away, as its run's folder could not be ` +
    `synced: current value is ${reason}; earlier checkpoints are untouched; look after the disk, or copy it to another`;
}

function saveError(path: string, current: string, cause: Error): Error {
  const errno = errnoOf(cause);
  const full = [ERRNO.ENOSPC, ERRNO.EDQUOT, ERRNO.EFBIG].some((number) => number === errno);
  const rule = full ? "there must be room on the disk" : "its files must be writable";
  const remedy = full
    ? "free some room, or lower checkpoint.keep_last"
    : "make the folder writable";
  return new CheckpointError(
    `Cannot save checkpoint ${path} as ${rule}: current value is ${cause.message} at ${current}; ` +
      `earlier checkpoints are untouched; ${remedy}`,
    { cause },
  );
}
