/**
 * `checksums.json`: size and SHA-256 of every file of a checkpoint, written last. A checkpoint
 * without one was never finished.
 *
 * @module
 */

import { createHash } from "node:crypto";
import * as z from "zod";
import { CHUNK_BYTES, type WrittenFile } from "../interop/safetensors.ts";
import { checkShape, parseJsonValue, wholeNumber } from "../std/json.ts";
import { CheckpointError, checkpointJson } from "./errors.ts";

const VERSION = 1;

/** Size and digest by the name of the file. */
export type Checksums = ReadonlyMap<string, WrittenFile>;

/** The text of checksums.json: names sorted, one form only, so that any changed byte shows. */
export function formatChecksums(checksums: Checksums): string {
  const files: Record<string, WrittenFile> = {};
  for (const name of [...checksums.keys()].sort()) {
    const { bytes, sha256 } = checksums.get(name)!;
    files[name] = { bytes, sha256 };
  }
  return JSON.stringify({ version: VERSION, algorithm: "sha256", files }, null, 2) + "\n";
}

/** Bytes of a checksums.json at most: it has a few lines a file. */
export const MAX_CHECKSUMS_BYTES = 2 ** 20;

const versionSchema = z.looseObject({
  version: z.number({ error: "a number" }).max(VERSION, { error: `at most ${VERSION}` }),
}, { error: "a JSON object" });

const FILE_NAMES = "a mapping from names of files to their sizes and digests";
const DIGEST = "64 lower-case hexadecimal digits";

const checksumsSchema = z.object({
  files: z.record(
    z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, { error: FILE_NAMES }),
    z.object({
      bytes: wholeNumber(),
      sha256: z.string({ error: DIGEST }).regex(/^[0-9a-f]{64}$/, { error: DIGEST }),
    }, { error: "size and digest of a file" }),
    { error: FILE_NAMES },
  ),
});

/**
 * Reads checksums.json.
 *
 * @param path For messages.
 * @throws {CheckpointError} when it is not, byte for byte, what {@linkcode formatChecksums} writes.
 */
export function parseChecksums(text: string, path: string): Checksums {
  const remedy = "use another checkpoint";
  const file = checkpointJson(path, { maxBytes: MAX_CHECKSUMS_BYTES, remedy });
  const value = parseJsonValue(text, file);
  checkShape(value, versionSchema, {
    ...file,
    remedy: "a newer TitanBit wrote it: update this one, or use another checkpoint",
  });
  const { files } = checkShape(value, checksumsSchema, file);
  const checksums = new Map(Object.entries(files));
  if (formatChecksums(checksums) !== text) {
    throw new CheckpointError(
      `Cannot read ${path} as it must be as it was written: current value is other bytes; ${remedy}`,
    );
  }
  return checksums;
}

/** Size and digest of a file, read to its end; reading and hashing overlap. */
export async function checksumFile(path: string): Promise<WrittenFile> {
  using file = Deno.openSync(path);
  const hash = createHash("sha256");
  const buffers = [new Uint8Array(CHUNK_BYTES), new Uint8Array(CHUNK_BYTES)] as const;
  let bytes = 0;
  let reading = file.read(buffers[0]);
  for (let turn = 0;; turn++) {
    const count = await reading;
    if (count === null) return { bytes, sha256: hash.digest("hex") };
    reading = file.read(buffers[(turn + 1) & 1]!);
    hash.update(buffers[turn & 1]!.subarray(0, count));
    bytes += count;
  }
}
