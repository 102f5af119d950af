/**
 * The newest checkpoint of a run that is sound, as `--resume latest` takes it.
 *
 * @module
 */

import { basename } from "@std/path";
import { CheckpointError } from "./errors.ts";
import { listCheckpoints } from "./layout.ts";
import { type Checkpoint, openCheckpoint } from "./open.ts";
import { tidyIfIdle } from "./run_folder.ts";

export { type CheckpointEntry, listCheckpoints } from "./layout.ts";

/** A newer checkpoint that was not taken. */
export interface PassedOver {
  readonly path: string;
  readonly reason: string;
}

/**
 * Finds the newest checkpoint that verifies, and says which newer ones it passed over and why.
 *
 * @returns null when the run has no checkpoint, or there is no such folder.
 * @throws {CheckpointError} when there are checkpoints and none of them verifies, naming each: to
 * begin anew is for the user to decide.
 */
export async function findLatest(
  runFolder: string,
): Promise<{ path: string; passedOver: PassedOver[] } | null> {
  const latest = await openLatest(runFolder);
  return latest && { path: latest.checkpoint.path, passedOver: latest.passedOver };
}

/** Does what {@linkcode findLatest} does and opens the checkpoint, reading its files only once. */
export async function openLatest(
  runFolder: string,
): Promise<{ checkpoint: Checkpoint; passedOver: PassedOver[] } | null> {
  tidyIfIdle(runFolder);
  const passedOver: PassedOver[] = [];
  for (const { path } of listCheckpoints(runFolder).reverse()) {
    try {
      return { checkpoint: await openCheckpoint(path), passedOver };
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw error;
      passedOver.push({ path, reason: error.message });
    }
  }
  if (passedOver.length === 0) return null;
  throw new CheckpointError(
    `Cannot resume from ${runFolder} as a checkpoint must verify: current value is ` +
      `${passedOver.map(({ path, reason }) => `${basename(path)} (${reason})`).join(", ")}; ` +
      `restore one from a copy, or move them away to begin anew`,
  );
}
