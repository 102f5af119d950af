/**
 * Which TitanBit this is.
 *
 * @module
 */

import { dirname, fromFileUrl, join, resolve } from "@std/path";
import meta from "../../deno.json" with { type: "json" };

/** Version of the program. */
export const VERSION: string = meta.version;

/** Commit that the source tree at `root` has checked out, by default this one; null where it isn't a git repository. */
export function findCommit(
  root = dirname(dirname(dirname(fromFileUrl(import.meta.url)))),
): string | null {
  const folder = gitFolder(join(root, ".git"));
  if (folder === null) return null;
  const head = read(join(folder, "HEAD"));
  const name = /^ref: (.+)$/.exec(head ?? "")?.[1];
  if (name === undefined) return head;
  const shared = read(join(folder, "commondir")); // of a worktree: where the branches are
  const branches = shared === null ? folder : resolve(folder, shared);
  const packed = (read(join(branches, "packed-refs")) ?? "").split("\n");
  return read(join(branches, name)) ??
    packed.find((line) => line.endsWith(` ${name}`))?.split(" ")[0] ?? null;
}

/** The folder itself, or the one that a worktree's file names. */
function gitFolder(path: string): string | null {
  try {
    if (Deno.statSync(path).isDirectory) return path;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return null;
  }
  const target = /^gitdir: (.+)$/.exec(read(path) ?? "")?.[1];
  return target === undefined ? null : resolve(dirname(path), target);
}

function read(path: string): string | null {
  try {
    return Deno.readTextFileSync(path).trim();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return null;
  }
}
