/**
 * Files of a folder that is being put together.
 *
 * @module
 */

import { dirname } from "@std/path";

/** Copies a file, making the folders above it. */
export async function copyFile(from: string, to: string): Promise<void> {
  await Deno.mkdir(dirname(to), { recursive: true });
  await Deno.copyFile(from, to);
}

/** Writes a text, making the folders above it. */
export async function writeFile(path: string, text: string): Promise<void> {
  await Deno.mkdir(dirname(path), { recursive: true });
  await Deno.writeTextFile(path, text);
}

/** Handler of a rejected promise: lets a missing file pass, and nothing else. */
export function ignoreMissing(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
