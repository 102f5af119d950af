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
  const deleted: string[] = [];
  try {
    await withRunFolder(runFolder, () => {
      for (const { path } of surplus) {
        if (path === newest) continue;
        removeFolder(path);
        deleted.push(path);
      }
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
  return deleted;
}

/** The checkpoints that neither rule keeps, oldest first. Pure. */
export function chooseSurplus(
  entries: readonly CheckpointEntry[],
  { keepLast, keepEvery }: Pick<RetentionOptions, "keepLast" | "keepEvery">,
): CheckpointEntry[] {
  const sorted = [...entries].sort((a, b) => a.step - b.step);
  return sorted.slice(0, Math.max(0, sorted.length - keepLast))
    .filter(({ step }) => keepEvery === null || step % keepEvery !== 0);
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
