/**
 * The lines of a file that grows, is cut back or is replaced.
 *
 * @module
 */

import { dirname } from "@std/path";
import { openRunFile } from "./run_file.ts";

/** Takes what {@linkcode LineFollower} finds. */
export interface LineTaker {
  /** Whole lines, in order, each with its line end. The bytes are valid until the next call. */
  lines(bytes: Uint8Array<ArrayBuffer>): void;
  /** A line is passed over as it is too long to be one of records; its beginning. */
  leaveOut(start: Uint8Array<ArrayBuffer>): void;
  /** What was given before is no longer in the file: it begins anew. */
  reset(): void;
}

/** What is read at once. */
const CHUNK_BYTES = 4 << 20;
/** What a line may have, a record of the largest network's ternary weights some times over. */
const MOST_LINE_BYTES = 16 << 20;
/** Bytes before the place reached that must be what they were. */
const MARK_BYTES = 256;
/** What a file may have: records of some 20 million steps. */
const MOST_BYTES = 8 * 2 ** 30;
const NEWLINE = 0x0a;

/**
 * Follows a file of lines by its path. A last line without its end is left until it has one.
 *
 * A resumed run cuts its file back and writes on, perhaps past where it was, between two looks; so the bytes before the
 * place reached are compared as well as the size and the file's number.
 */
export class LineFollower {
  readonly path: string;
  readonly #taker: LineTaker;
  #identity: string | null = null;
  #seen = "";
  /** Bytes that were given. */
  #offset = 0;
  /** Whether they end within a line that is passed over. */
  #passing = false;
  /** The last of them. */
  #mark = new Uint8Array(0);

  constructor(path: string, taker: LineTaker) {
    this.path = path;
    this.#taker = taker;
  }

  /**
   * Gives the lines that are new. A file that isn't there has none; whether anything changed. Throws `Error` where it is no regular file,
   * see `openRunFile()`.
   */
  async poll(): Promise<boolean> {
    const info = await statOrNull(this.path);
    if (info === null) return this.#reset();
    const identity = `${info.dev}:${info.ino}`;
    const seen = `${identity}:${info.size}:${info.mtime?.getTime()}`;
    // The time has milliseconds: a file that is being written may change without it.
    const settled = info.mtime !== null && Date.now() - info.mtime.getTime() > 2000;
    if (seen === this.#seen && settled) return false;
    const file = openRunFile(this.path, { folder: dirname(this.path), mostBytes: MOST_BYTES });
    if (file === null) return this.#reset();
    using open = file;
    const goesOn = identity === this.#identity && info.size >= this.#offset &&
      await this.#isMarked(open);
    const changed = goesOn ? false : this.#reset();
    this.#identity = identity;
    this.#seen = seen;
    return await this.#read(open) || changed;
  }

  #reset(): boolean {
    this.#identity = null;
    this.#seen = "";
    if (this.#offset === 0) return false;
    this.#offset = 0;
    this.#passing = false;
    this.#mark = new Uint8Array(0);
    this.#taker.reset();
    return true;
  }

  async #isMarked(file: Deno.FsFile): Promise<boolean> {
    if (this.#mark.length === 0) return true;
    const found = new Uint8Array(this.#mark.length);
    await file.seek(this.#offset - found.length, Deno.SeekMode.Start);
    const count = await fill(file, found);
    return count === found.length && found.every((byte, index) => byte === this.#mark[index]);
  }

  async #read(file: Deno.FsFile): Promise<boolean> {
    await file.seek(this.#offset, Deno.SeekMode.Start);
    let buffer = new Uint8Array(CHUNK_BYTES);
    let kept = 0;
    let changed = false;
    while (true) {
      const count = await fill(file, buffer.subarray(kept));
      const end = kept + count;
      if (this.#passing) {
        const next = buffer.subarray(0, end).indexOf(NEWLINE) + 1;
        this.#passing = next === 0;
        this.#advance(buffer.subarray(0, next || end));
        await file.seek(this.#offset, Deno.SeekMode.Start);
        if (this.#passing && end < buffer.length) return changed;
        kept = 0;
        continue;
      }
      const whole = buffer.lastIndexOf(NEWLINE, end - 1) + 1;
      if (end > 0 && whole > 0) {
        const lines = buffer.subarray(0, whole);
        this.#advance(lines);
        this.#taker.lines(lines);
        changed = true;
      }
      if (end < buffer.length) return changed;
      if (whole === 0 && end >= MOST_LINE_BYTES) {
        this.#taker.leaveOut(buffer);
        this.#passing = true;
        this.#advance(buffer);
        kept = 0;
        changed = true;
      } else if (whole === 0) {
        const larger = new Uint8Array(2 * buffer.length);
        larger.set(buffer);
        buffer = larger;
        kept = end;
      } else {
        buffer.copyWithin(0, whole, end);
        kept = end - whole;
      }
    }
  }

  /** Bytes are done with. */
  #advance(bytes: Uint8Array<ArrayBuffer>): void {
    this.#offset += bytes.length;
    this.#mark = bytes.slice(-MARK_BYTES);
  }
}

/** Reads until `into` is full or the file ends; bytes read. */
async function fill(file: Deno.FsFile, into: Uint8Array): Promise<number> {
  let at = 0;
  while (at < into.length) {
    const count = await file.read(into.subarray(at));
    if (count === null) break;
    at += count;
  }
  return at;
}

async function statOrNull(path: string): Promise<Deno.FileInfo | null> {
  try {
    return await Deno.lstat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return null;
    }
    throw error;
  }
}
