/**
 * Files that appear whole or not at all.
 *
 * @module
 */
import { dirname } from "@std/path";
import { writing } from "./errors.ts";

/**
 * A file written under `<path>.tmp-<pid>` and renamed at the end. Until {@linkcode commit} the old file of that
 * name, if any, is untouched; leaving the scope of a `using` without a commit removes what was written.
 */
export class AtomicFile {
  /** Where the file will be. */
  readonly path: string;
  /** Where it is written. */
  readonly temporaryPath: string;
  readonly #file: Deno.FsFile;
  #state: "open" | "closed" | "done" = "open";

  /** Opens the temporary file; the folder must be there. Here and below, a {@linkcode DataError} names what can't be written. */
  constructor(path: string) {
    this.path = path;
    this.temporaryPath = `${path}.tmp-${Deno.pid}`;
    const options = { create: true, truncate: true, write: true, read: true };
    this.#file = writing(path, () => Deno.openSync(this.temporaryPath, options));
  }

  /** Writes all of `bytes` at the file's position. */
  write(bytes: Uint8Array): void {
    writing(this.path, () => {
      for (let done = 0; done < bytes.length;) done += this.#file.writeSync(bytes.subarray(done));
    });
  }

  /** Writes all of `bytes` at a byte offset and returns to the end of the file. */
  writeAt(bytes: Uint8Array, offset: number): void {
    this.#file.seekSync(offset, Deno.SeekMode.Start);
    this.write(bytes);
    this.#file.seekSync(0, Deno.SeekMode.End);
  }

  /** Cuts the file to a length in bytes and goes on there. */
  truncate(bytes: number): void {
    this.#file.truncateSync(bytes);
    this.#file.seekSync(bytes, Deno.SeekMode.Start);
  }

  /** Brings the bytes to the disk and closes the file; {@linkcode commit} then only renames. */
  close(): void {
    if (this.#state !== "open") return;
    writing(this.path, () => this.#file.syncSync());
    this.#file.close();
    this.#state = "closed";
  }

  /** Puts the file in its place: fsync, rename, fsync of the folder. */
  commit(): void {
    this.close();
    writing(this.path, () => Deno.renameSync(this.temporaryPath, this.path));
    this.#state = "done";
    syncFolder(dirname(this.path));
  }

  /** Removes what was written, unless it was committed. */
  [Symbol.dispose](): void {
    if (this.#state === "done") return;
    if (this.#state === "open") this.#file.close();
    this.#state = "done";
    try {
      Deno.removeSync(this.temporaryPath);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}

/** Replaces a file whole. */
export function writeFileAtomic(path: string, bytes: Uint8Array): void {
  using file = new AtomicFile(path);
  file.write(bytes);
  file.commit();
}

/** Brings a folder's entries to the disk, so that a rename in it survives a power cut. */
export function syncFolder(path: string): void {
  using folder = Deno.openSync(path === "" ? "." : path, { read: true });
  folder.syncSync();
}
