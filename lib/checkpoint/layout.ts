/**
 * Where things lie in a run's folder: `checkpoints/<run>/step_0000100/` and the files inside.
 *
 * Names that begin with a dot are work in progress of one process, told apart by its id: `.tmp-` is
 * being written, `.replaced-` made room for a new checkpoint of the same step, `.deleted-` is being
 * removed. The `.lock` file is held while any of them exists, `.running` by the training of the
 * run, which takes it away.
 *
 * @module
 */

import { join } from "@std/path";
import { CheckpointError } from "./errors.ts";

/** The files of a checkpoint. */
export const FILES = {
  model: "model.safetensors",
  optimizer: "optimizer.safetensors",
  modelConfig: "config.json",
  state: "trainer_state.json",
  runConfig: "config.yaml",
  tokenizer: "tokenizer.json",
  checksums: "checksums.json",
} as const;

/** Bytes of a tokenizer.json at most; the largest published ones have some 40 million. */
export const MAX_TOKENIZER_BYTES = 256 * 2 ** 20;

/** Files that every checkpoint has; the optimizer and the tokenizer may be absent. */
export const REQUIRED_FILES: readonly string[] = [
  FILES.model,
  FILES.modelConfig,
  FILES.state,
  FILES.runConfig,
];

const STEP_DIGITS = 7;
const STEP_FOLDER = /^step_(\d{7,15})$/;

/** A checkpoint folder of a run, not yet verified. */
export interface CheckpointEntry {
  readonly path: string;
  readonly step: number;
}

/** Name of the folder of a step, padded to seven digits: `step_0000100`. */
export function stepFolderName(step: number): string {
  return `step_${String(step).padStart(STEP_DIGITS, "0")}`;
}

/** Lists a run's checkpoints by step, oldest first. A run folder that is not there has none. */
export function listCheckpoints(runFolder: string): CheckpointEntry[] {
  const entries: CheckpointEntry[] = [];
  for (const entry of readFolder(runFolder)) {
    const match = STEP_FOLDER.exec(entry.name);
    if (match === null || !entry.isDirectory) continue;
    const step = Number(match[1]);
    if (stepFolderName(step) === entry.name) {
      entries.push({ path: join(runFolder, entry.name), step });
    }
  }
  return entries.sort((a, b) => a.step - b.step);
}

/** Entries of a folder, none if it is not there. */
export function readFolder(path: string): Deno.DirEntry[] {
  try {
    return [...Deno.readDirSync(path)];
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    if (error instanceof Deno.errors.NotADirectory) {
      throw new CheckpointError(
        `Cannot read ${path} as it must be a folder: current value is a file; move it away or name another run`,
      );
    }
    throw error;
  }
}
