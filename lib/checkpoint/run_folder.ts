/**
 * Changes to a run's folder, one process at a time: a lock, and the tidying of what a process that
 * died in the middle left behind. Whoever holds the lock knows that nobody is writing, so every
 * folder in progress is a leftover.
 *
 * @module
 */

import { basename, dirname, join } from "@std/path";
import { CheckpointError, ERRNO, errnoOf } from "./errors.ts";
import { readFolder } from "./layout.ts";

const LOCK = ".lock";
/** Held by the training of a run from its start to its end; names its process. */
const RUNNING = ".running";
/** Of opening that file while other trainings take theirs away. */
const ATTEMPTS = 10;
const IN_PROGRESS = /^\.(tmp|deleted|replaced)-(step_\d+)-\d+$/;

/**
 * Runs `body` while holding the run folder's lock, after tidying. The folder is made if it is not
 * there. The kernel lets go of the lock when a process dies.
 *
 * @throws {CheckpointError} when another process holds it.
 */
export async function withRunFolder<T>(runFolder: string, body: () => Promise<T>): Promise<T> {
  if (!isFolder(runFolder)) {
    Deno.mkdirSync(runFolder, { recursive: true });
    syncFolder(dirname(runFolder));
  }
  using lock = Deno.openSync(join(runFolder, LOCK), { write: true, create: true });
  if (!tryLock(lock, join(runFolder, LOCK))) {
    throw new CheckpointError(
      `Cannot change ${runFolder} as one process at a time may: current value is another one ` +
        `writing there; wait for it, or give this run its own checkpoint.run name`,
    );
  }
  tidy(runFolder);
  return await body();
}

/**
 * Keeps a run's folder for this process's training until it is disposed of: two in one folder would
 * overwrite each other's checkpoints and mix their records. The folder is made if it is not there,
 * and taken away again where a training that was refused left nothing in it. The kernel lets go
 * when a process dies.
 *
 * @throws {CheckpointError} when another process trains there, or the folder cannot be written: better before the first step than
 * with the first checkpoint.
 */
export function holdRunFolder(runFolder: string): Disposable {
  const path = join(runFolder, RUNNING);
  let { file, made } = openRunning(runFolder, path);
  let held = lockRunning(file, path);
  // A training that ended since the file was opened has taken it away: others would not find what
  // is locked here.
  for (let attempt = 0; held && file.statSync().nlink === 0 && attempt < ATTEMPTS; attempt++) {
    file.close();
    ({ file, made } = openRunning(runFolder, path));
    held = lockRunning(file, path);
  }
  if (!held) {
    using other = file;
    const name = new Uint8Array(32);
    const holder = new TextDecoder().decode(name.subarray(0, other.readSync(name) ?? 0)).trim();
    throw new CheckpointError(
      `Cannot train in ${runFolder} as a training is at work there${
        holder && `, process ${holder}`
      }: ` +
        "wait for it or stop it, or give this run its own name with --set checkpoint.run=NAME",
    );
  }
  try {
    file.truncateSync();
    file.writeSync(new TextEncoder().encode(`${Deno.pid}\n`));
  } catch {
    // The name of the process is for the other's message alone; a full disk shows itself with the first checkpoint.
  }
  return {
    [Symbol.dispose]() {
      using _file = file; // locked until its name is gone
      try {
        Deno.removeSync(path);
        if (made) Deno.removeSync(runFolder); // which fails where something lies there
      } catch {
        // What stays is in nobody's way: it is not locked.
      }
    },
  };
}

/** As {@linkcode tryLock}; a file system that fails to answer is an error of the folder. */
function lockRunning(file: Deno.FsFile, path: string): boolean {
  try {
    return tryLock(file, path);
  } catch (error) {
    file.close();
    throw new CheckpointError(
      `Cannot train in ${dirname(path)} as its files must be lockable: current value is ${
        (error as Error).message
      }; choose another disk with --set checkpoint.directory=FOLDER`,
      { cause: error },
    );
  }
}

function openRunning(runFolder: string, path: string): { file: Deno.FsFile; made: boolean } {
  for (let attempt = 1;; attempt++) {
    try {
      const made = !isFolder(runFolder);
      Deno.mkdirSync(runFolder, { recursive: true });
      return { file: Deno.openSync(path, { read: true, write: true, create: true }), made };
    } catch (error) {
      // A training that left nothing takes its folder away, perhaps just now.
      if (error instanceof Deno.errors.NotFound && attempt < ATTEMPTS) continue;
      if (errnoOf(error) === null) throw error;
      throw new CheckpointError(
        `Cannot train in ${runFolder} as checkpoints must go there: current value is ${
          (error as Error).message
        }; ` +
          "make it writable, or choose another with --set checkpoint.directory=FOLDER",
        { cause: error },
      );
    }
  }
}

/**
 * Tidies a run folder before it is read, where needed and possible: a checkpoint that was being
 * replaced when its process died goes back in place. Another process at work, or a folder that may
 * only be read, is left alone.
 */
export function tidyIfIdle(runFolder: string): void {
  if (!readFolder(runFolder).some((entry) => IN_PROGRESS.test(entry.name))) return;
  try {
    using lock = Deno.openSync(join(runFolder, LOCK), { write: true, create: true });
    if (tryLock(lock, join(runFolder, LOCK))) tidy(runFolder);
  } catch (error) {
    if (error instanceof Deno.errors.PermissionDenied) return;
    if (errnoOf(error) === ERRNO.EROFS) return;
    if (errnoOf(error) === null) throw error;
    throw new CheckpointError(
      `Cannot tidy ${runFolder}, where a save was cut off, as its files must be writable: current value is ${
        (error as Error).message
      }`,
      { cause: error },
    );
  }
}

/** File systems that know no locks (Lustre or NFS as some mount them) go without: they count as idle. */
function tryLock(file: Deno.FsFile, path: string): boolean {
  try {
    return file.tryLockSync(true);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno !== null && [ERRNO.ENOLCK, ERRNO.ENOSYS, ERRNO.EOPNOTSUPP].some((e) => e === errno)) {
      return true;
    }
    throw withPath(error, `lock '${path}'`);
  }
}

/** An error of the system's that names no file, with what it was about, as Deno words it where it does. */
function withPath(error: unknown, about: string): unknown {
  if (errnoOf(error) === null) return error;
  return new Error(`${(error as Error).message}: ${about}`, { cause: error });
}

function tidy(runFolder: string): void {
  for (const { name } of readFolder(runFolder)) {
    const match = IN_PROGRESS.exec(name);
    if (match === null) continue;
    const path = join(runFolder, name);
    const final = join(runFolder, match[2]!);
    if (match[1] === "replaced" && !isFolder(final)) {
      Deno.renameSync(path, final);
      syncFolder(runFolder);
    } else {
      Deno.removeSync(path, { recursive: true });
    }
  }
}

/** Waits until the entries of a folder are on the disk. */
export function syncFolder(path: string): void {
  using folder = Deno.openSync(path);
  try {
    folder.syncSync();
  } catch (error) {
    throw withPath(error, `sync '${path}'`);
  }
}

/** Whether there is a folder of that name. */
export function isFolder(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/**
 * Puts a finished folder in place under its final name. A folder that already has the name makes
 * room first and is removed last, so that a process dying in between loses neither.
 *
 * @param temporary A folder beside `final`, its files and itself synced.
 * @returns Why a power failure may undo that, as the system says it; null where it can't.
 */
export function publishFolder(temporary: string, final: string): string | null {
  const runFolder = dirname(final);
  const replaced = inProgressPath("replaced", final);
  const replaces = isFolder(final);
  if (replaces) Deno.renameSync(final, replaced);
  try {
    Deno.renameSync(temporary, final);
  } catch (error) {
    if (replaces) Deno.renameSync(replaced, final);
    throw error;
  }
  try {
    syncFolder(runFolder);
  } catch (error) {
    if (errnoOf(error) === null) throw error;
    return (error as Error).message; // both stay: one of them outlives a power failure
  }
  if (replaces) removeQuietly(replaced);
  return null;
}

/** Removes a folder in progress as far as possible; what stays, the next change tidies. */
export function removeQuietly(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch {
    // The next change to the run's folder tries again, and says so if it cannot.
  }
}

/** Removes a checkpoint so that no half of it is ever seen under its name. */
export function removeFolder(path: string): void {
  const deleted = inProgressPath("deleted", path);
  Deno.renameSync(path, deleted);
  syncFolder(dirname(path));
  Deno.removeSync(deleted, { recursive: true });
}

/** Name of this process's folder in progress for a checkpoint: `.tmp-step_0000100-4711`. */
export function inProgressPath(kind: "tmp" | "replaced" | "deleted", final: string): string {
  return join(dirname(final), `.${kind}-${basename(final)}-${Deno.pid}`);
}
