/**
 * The error of a checkpoint that cannot be saved, verified or loaded.
 *
 * @module
 */

import { InteropError } from "../interop/errors.ts";

/** Thrown when a checkpoint cannot be saved or loaded. A run can go on after a failed save. */
export class CheckpointError extends Error {
  override readonly name: string = "CheckpointError";
}

/** Whether an error came from the file system: Deno gives those a code such as "ENOSPC". */
export function isFileError(error: unknown): error is Error & { code: string } {
  return error instanceof Error && typeof (error as { code?: unknown }).code === "string" &&
    /^E[A-Z0-9]+$/.test((error as unknown as { code: string }).code);
}

/** Runs `body`; what a file holds wrongly, or the file system refuses, becomes a CheckpointError. */
export async function asCheckpointErrors<T>(doing: string, body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    if (error instanceof InteropError) throw new CheckpointError(error.message, { cause: error });
    if (isFileError(error)) {
      throw new CheckpointError(
        `Cannot ${doing} as its files must be readable: current value is ${error.message}`,
        { cause: error },
      );
    }
    throw error;
  }
}
