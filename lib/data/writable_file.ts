/**
 * Whether a file can be written, asked before the work that it is for.
 *
 * @module
 */
import { ensureDir } from "@std/fs";
import { dirname } from "@std/path";
import { AtomicFile } from "./atomic_file.ts";
import { cannotWrite } from "./errors.ts";

/** Makes the file's folder where it is not there yet, and tries to write there. Throws `DataError` where that can't be. */
export async function requireWritable(path: string): Promise<void> {
  try {
    await ensureDir(dirname(path));
  } catch (error) {
    throw isSystemError(error) ? cannotWrite(path, error) : error;
  }
  using _trial = new AtomicFile(path); // leaves nothing, as it is not committed
}

/** As opposed to the error that says in a sentence which file is in a folder's place. */
function isSystemError(error: unknown): boolean {
  return error instanceof Error &&
    (error.name !== "Error" || /\(os error \d+\)/.test(error.message));
}
