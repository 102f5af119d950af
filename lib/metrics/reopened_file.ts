/**
 * A file that is written for long, at a path that others may move or delete meanwhile.
 *
 * @module
 */

import { dirname } from "@std/path";

/** A file open for appending, made anew at its path where that no longer names it. */
export class ReopenedFile implements Disposable {
  readonly path: string;
  #file: Deno.FsFile;
  #identity: string;

  private constructor(path: string, file: Deno.FsFile) {
    this.path = path;
    this.#file = file;
    this.#identity = identityOf(file.statSync());
  }

  /** Opens a file in a folder that exists, or makes it. */
  static open(path: string): ReopenedFile {
    return new ReopenedFile(path, openRegular(path));
  }

  /**
   * Opens the path anew, with its folder, where it no longer names the open file; whether that was so. Throws where something that is no
   * regular file stands there.
   */
  reopen(): boolean {
    if (this.#isThere()) return false;
    Deno.mkdirSync(dirname(this.path), { recursive: true });
    const file = openRegular(this.path);
    this.#file.close();
    this.#file = file;
    this.#identity = identityOf(file.statSync());
    return true;
  }

  write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) at += this.#file.writeSync(bytes.subarray(at));
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }

  #isThere(): boolean {
    try {
      return identityOf(Deno.statSync(this.path)) === this.#identity;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
        return false;
      }
      throw error;
    }
  }
}

/** Opening a pipe would wait for its reader. */
function openRegular(path: string): Deno.FsFile {
  let found: Deno.FileInfo | null = null;
  try {
    found = Deno.statSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  if (found !== null && !found.isFile) {
    throw new Error(
      `Cannot append to ${path} as it must be a regular file: current value is ${
        found.isDirectory ? "a folder" : "a device, pipe or socket"
      }; move it away`,
    );
  }
  return Deno.openSync(path, { append: true, create: true });
}

function identityOf({ dev, ino }: Deno.FileInfo): string {
  return `${dev}:${ino}`;
}
