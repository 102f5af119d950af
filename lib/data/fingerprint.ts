/**
 * What tells a token file from another, at the cost of a few reads.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { basename } from "@std/path";
import { DataError, reading } from "./errors.ts";
import type { TokenShard } from "./shards.ts";

/** Bytes of a piece that is read, and pieces of a file: 131,072 bytes in all. */
const PIECE = 4096;
const PIECES = 32;

/** A file as it was when a run was trained on it. */
export interface FileFingerprint {
  /** For messages: a file that only moved, or got another name, is the same. */
  readonly name: string;
  /** Its length. */
  readonly bytes: number;
  /** SHA-256, in hex, of the file where it has up to 131,072 bytes, else of 32 pieces of 4,096; null where the file was damaged. */
  readonly hash: string | null;
}

/**
 * Takes an opened file's fingerprint. The pieces lie at equal distances; the first begins the file and the last ends it, so that
 * length, header, beginning and end always count.
 *
 * @throws {DataError} Where the file can no longer be read.
 */
export function fingerprintOf(shard: TokenShard): FileFingerprint {
  const { path, mapping: { bytes } } = shard;
  const hash = createHash("sha256");
  return reading(path, () => {
    using file = Deno.openSync(path);
    if (bytes <= PIECE * PIECES) {
      hash.update(readPiece(file, { path, start: 0, length: bytes }));
    } else {
      for (let piece = 0; piece < PIECES; piece++) {
        const start = Math.floor((bytes - PIECE) * piece / (PIECES - 1));
        hash.update(readPiece(file, { path, start, length: PIECE }));
      }
    }
    return { name: basename(path), bytes, hash: hash.digest("hex") };
  });
}

/** Whether two fingerprints can be of the same content; that of a damaged file is compared by its length. */
export function sameContent(a: FileFingerprint, b: FileFingerprint): boolean {
  return a.bytes === b.bytes && (a.hash === null || b.hash === null || a.hash === b.hash);
}

function readPiece(
  file: Deno.FsFile,
  place: { path: string; start: number; length: number },
): Uint8Array {
  const { path, start, length } = place;
  const piece = new Uint8Array(length);
  file.seekSync(start, Deno.SeekMode.Start);
  for (let done = 0; done < length;) {
    const read = file.readSync(piece.subarray(done));
    if (read === null) {
      throw new DataError(`Cannot read ${path} as it became shorter while it was opened`, { path });
    }
    done += read;
  }
  return piece;
}
