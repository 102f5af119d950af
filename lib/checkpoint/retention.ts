/**
 * Which checkpoints of a run stay.
 *
 * @module
 */

import { CheckpointError, errnoOf } from "./errors.ts";
import { type CheckpointEntry, listCheckpoints } from "./layout.ts";
import { openCheckpoint } from "./open.ts";
import { removeFolder, withRunFolder } from "./run_folder.ts";

/** Options of {@linkcode applyRetention}. */
export interface RetentionOptions {
  /** How many of the newest to keep, at least 1. */
  readonly keepLast: number;
  /** Keep every checkpoint whose step is a multiple of this, however old; null keeps none so. */
  readonly keepEvery: number | null;
  /**
   * Path of a checkpoint that this process has just saved: it counts as sound without being read
   * through once more (its sizes and headers still are).
   */
  readonly justSaved?: string;
  /** Steps whose checkpoints stay whatever else says: a run may go back to them. @default none */
  readonly protect?: readonly number[];
}

/**
 * Deletes the checkpoints that need not stay. The newest one that verifies always stays, so call it
 * once the new checkpoint is in place; while none verifies, nothing is deleted.
 *
 * @returns The paths that were deleted, oldest first.
 * @throws {RangeError} on numbers out of range; {@linkcode CheckpointError} when a folder cannot be
 * deleted or another process is writing in the run's folder.
 */
export async function applyRetention(
  runFolder: string,
  options: RetentionOptions,
): Promise<string[]> {
  checkOptions(options);
  const surplus = chooseSurplus(listCheckpoints(runFolder), options);
  if (surplus.length === 0) return [];
  const newest = await findNewestSound(runFolder, options.justSaved);
  if (newest === null) return [];
  const deleted = surplus.map(({ path }) => path).filter((path) => path !== newest);
  await removeAll(runFolder, deleted);
  return deleted;
}

async function removeAll(runFolder: string, paths: readonly string[]): Promise<void> {
  try {
    await withRunFolder(runFolder, () => {
      for (const path of paths) removeFolder(path);
      return Promise.resolve();
    });
  } catch (error) {
    if (errnoOf(error) === null) throw error;
    throw new CheckpointError(
      `Cannot delete old checkpoints of ${runFolder} as its folders must be writable: ` +
        `current value is ${(error as Error).message}`,
      { cause: error },
    );
  }
}

/** The checkpoints that neither rule keeps, oldest first. Pure. */
export function chooseSurplus(
  entries: readonly CheckpointEntry[],
  { keepLast, keepEvery, protect = [] }: Pick<
    RetentionOptions,
    "keepLast" | "keepEvery" | "protect"
  >,
): CheckpointEntry[] {
  const sorted = [...entries].sort((a, b) => a.step - b.step);
  return sorted.slice(0, Math.max(0, sorted.length - keepLast))
    .filter(({ step }) => keepEvery === null || step % keepEvery !== 0)
    .filter(({ step }) => !protect.includes(step));
}

/**
 * Deletes the checkpoints of steps that a run has undone: those after `from` up to `to`, but for the one that it has
 * saved since, of step `but`. Newest first, so that a process that dies in between leaves none that is newer than one
 * that is gone.
 *
 * @throws {CheckpointError} when a folder cannot be deleted or another process is writing there.
 */
export async function discardCheckpoints(
  runFolder: string,
  range: { from: number; to: number; but?: number },
): Promise<void> {
  const undone = listCheckpoints(runFolder)
    .filter(({ step }) => step > range.from && step <= range.to && step !== range.but)
    .sort((a, b) => b.step - a.step);
  if (undone.length > 0) await removeAll(runFolder, undone.map(({ path }) => path));
}

async function findNewestSound(
  runFolder: string,
  justSaved: string | undefined,
): Promise<string | null> {
  for (const { path } of listCheckpoints(runFolder).reverse()) {
    try {
      await openCheckpoint(path, { checksums: path !== justSaved });
      return path;
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw error;
    }
  }
  return null;
}

function checkOptions({ keepLast, keepEvery }: RetentionOptions): void {
  if (!Number.isSafeInteger(keepLast) || keepLast < 1) {
    throw new RangeError(
      `Cannot choose checkpoints as keepLast must be a whole number above 0: current value is ${keepLast}`,
    );
  }
  if (keepEvery !== null && (!Number.isSafeInteger(keepEvery) || keepEvery < 1)) {
    throw new RangeError(
      `Cannot choose checkpoints as keepEvery must be null or a whole number above 0: ` +
        `current value is ${keepEvery}`,
    );
  }
}
