/**
 * How many connections the servers of a process hold open together, so that files are left for its work.
 *
 * @module
 */

/** Connections of all servers of a process; one more is closed at once. */
export const MOST_CONNECTIONS = 64;
/** Files that stay free for the run, for its checkpoints above all, where few may be open. */
export const RESERVED_FILES = 64;
/** Connections that a process takes however few files it may open: a browser's. */
const LEAST_CONNECTIONS = 6;

let most: number | null = null;
let open = 0;

/**
 * Counts the files that this process can still open, once, before connections take any: counting takes them all for a moment,
 * so that it is no means while a checkpoint may be written.
 */
export function planConnections(): void {
  most ??= Math.max(
    LEAST_CONNECTIONS,
    freeFiles(MOST_CONNECTIONS + RESERVED_FILES) - RESERVED_FILES,
  );
}

/** Takes one connection of the budget; whether there was one. {@linkcode releaseConnection} gives it back. */
export function claimConnection(): boolean {
  if (open >= (most ?? MOST_CONNECTIONS)) return false;
  open++;
  return true;
}

/** Gives a claimed connection back. */
export function releaseConnection(): void {
  open--;
}

/** Files that can be opened, counted up to `enough`. */
function freeFiles(enough: number): number {
  const files: Deno.FsFile[] = [];
  try {
    while (files.length < enough) files.push(Deno.openSync("/dev/null"));
    return enough;
  } catch (error) {
    // A process that may not read can't count, and has no files of its own either.
    return error instanceof Deno.errors.NotCapable ? enough : files.length;
  } finally {
    for (const file of files) file.close();
  }
}
