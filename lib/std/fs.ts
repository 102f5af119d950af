/**
 * The parts of `@std/fs` that this project uses, with their signatures: the package's npm copy lacks them.
 *
 * @module
 */
import { basename, join, normalize } from "@std/path";

/** Options of {@linkcode walk}; the same names and defaults as `@std/fs`. */
export interface WalkOptions {
  /** How many folders deep to go. @default {Infinity} */
  maxDepth?: number;
  /** @default {true} */
  includeFiles?: boolean;
  /** @default {true} */
  includeDirs?: boolean;
  /** Whether links that are not followed are yielded. @default {true} */
  includeSymlinks?: boolean;
  /** @default {false} */
  followSymlinks?: boolean;
  /** File name endings to keep, such as `[".txt"]`. */
  exts?: string[];
  /** Paths to keep: those matching any. */
  match?: RegExp[];
  /** Paths to leave out, with everything below them. */
  skip?: RegExp[];
}

/** A file, folder or link met by {@linkcode walk}. */
export interface WalkEntry extends Deno.DirEntry {
  path: string;
}

/** Options of {@linkcode exists}. */
export interface ExistsOptions {
  /** Whether it must also be a folder. @default {false} */
  isDirectory?: boolean;
  /** Whether it must also be a file. @default {false} */
  isFile?: boolean;
}

/**
 * Yields everything below a folder, the folder itself first.
 *
 * @throws {Deno.errors.NotFound} Where the folder is missing.
 */
export async function* walk(root: string, options: WalkOptions = {}): AsyncIterable<WalkEntry> {
  const { maxDepth = Infinity, includeFiles = true, includeDirs = true } = options;
  const { includeSymlinks = true, followSymlinks = false } = options;
  if (maxDepth < 0) return;
  const path = normalize(root);
  if (includeDirs && isWanted(path, options)) {
    const { isDirectory, isFile, isSymlink } = await Deno.stat(path);
    yield { path, name: basename(path), isDirectory, isFile, isSymlink };
  }
  if (maxDepth < 1 || !isWanted(path, { skip: options.skip ?? [] })) return;
  for await (const entry of Deno.readDir(path)) {
    let { isSymlink, isDirectory, isFile } = entry;
    let entryPath = join(path, entry.name);
    if (isSymlink) {
      if (!followSymlinks) {
        if (includeSymlinks && isWanted(entryPath, options)) yield { ...entry, path: entryPath };
        continue;
      }
      entryPath = await Deno.realPath(entryPath);
      ({ isSymlink, isDirectory, isFile } = await Deno.lstat(entryPath));
    }
    if (isSymlink || isDirectory) {
      yield* walk(entryPath, { ...options, maxDepth: maxDepth - 1 });
    } else if (includeFiles && isWanted(entryPath, options)) {
      yield { path: entryPath, name: entry.name, isDirectory, isFile, isSymlink };
    }
  }
}

/** Says whether a path is there, and by option whether it is a file or a folder. */
export async function exists(path: string | URL, options: ExistsOptions = {}): Promise<boolean> {
  if (options.isDirectory && options.isFile) {
    throw new TypeError("Cannot check for a file and a folder at once: pass one of the options");
  }
  try {
    const info = await Deno.stat(path);
    return !(options.isDirectory && !info.isDirectory) && !(options.isFile && !info.isFile);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return false;
    }
    throw error;
  }
}

/**
 * Makes a folder, and those above it, where it is not there yet.
 *
 * @throws {Error} Where the path is a file.
 */
export async function ensureDir(dir: string | URL): Promise<void> {
  try {
    if ((await Deno.stat(dir)).isDirectory) return;
    throw new Error(`Cannot make the folder ${dir} as a file of that name is there`);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  await Deno.mkdir(dir, { recursive: true });
}

function isWanted(path: string, options: WalkOptions): boolean {
  if (options.exts && !options.exts.some((ending) => path.endsWith(ending))) return false;
  if (options.match && !options.match.some((pattern) => pattern.test(path))) return false;
  return !options.skip?.some((pattern) => pattern.test(path));
}
