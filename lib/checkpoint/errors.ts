/**
 * The error of a checkpoint that cannot be saved, verified or loaded.
 *
 * @module
 */

import { InteropError } from "../interop/errors.ts";
import { EncodingError } from "../std/text_file.ts";
import type { JsonFile } from "../std/json.ts";

/** Thrown when a checkpoint cannot be saved or loaded. A run can go on after a failed save. */
export class CheckpointError extends Error {
  override readonly name: string = "CheckpointError";
}

/** A file of a checkpoint, whose faults are {@linkcode CheckpointError}s. */
export function checkpointJson(
  path: string,
  { maxBytes, remedy = "take another checkpoint" }: { maxBytes: number; remedy?: string },
): JsonFile {
  return {
    path,
    maxBytes,
    remedy,
    fail: (message, { cause }) => new CheckpointError(message, { cause }),
  };
}

/** Numbers of the system's errors, the same on every Linux. */
export const ERRNO = {
  EFBIG: 27,
  ENOSPC: 28,
  EROFS: 30,
  ENOLCK: 37,
  ENOSYS: 38,
  EOPNOTSUPP: 95,
  EDQUOT: 122,
} as const;

/**
 * The number of the system's error behind an error of Deno's, or null when there is none. Deno names
 * few of them by class or code, and states all of them in the message.
 */
export function errnoOf(error: unknown): number | null {
  const match = error instanceof Error ? /\(os error (\d+)\)/.exec(error.message) : null;
  return match === null ? null : Number(match[1]);
}

/** Runs `body`; what a file holds wrongly, or the file system refuses, becomes a CheckpointError. */
export async function asCheckpointErrors<T>(doing: string, body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    if (error instanceof InteropError || error instanceof EncodingError) {
      throw new CheckpointError(error.message, { cause: error });
    }
    if (errnoOf(error) !== null) {
      throw new CheckpointError(
        `Cannot ${doing} as its files must be readable: current value is ${
          (error as Error).message
        }`,
        { cause: error },
      );
    }
    throw error;
  }
}
