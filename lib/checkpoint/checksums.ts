/**
 * `checksums.json`: size and SHA-256 of every file of a checkpoint, written last. A checkpoint
 * without one was never finished.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { CHUNK_BYTES, type WrittenFile } from "../interop/safetensors.ts";
import { CheckpointError } from "./errors.ts";

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

/**
 * Reads checksums.json.
 *
 * @param path For messages.
 * @throws {CheckpointError} when it is not, byte for byte, what {@linkcode formatChecksums} writes.
 */
export function parseChecksums(text: string, path: string): Checksums {
  let files: unknown;
  try {
    const root = JSON.parse(text) as { version?: unknown; files?: unknown } | null;
    if (typeof root?.version === "number" && root.version > VERSION) {
      throw new CheckpointError(
        `Cannot read ${path} as its version must be at most ${VERSION}: ` +
          `current value is ${root.version}; a newer TitanBit wrote it: update this one`,
      );
    }
    files = root?.files;
  } catch (error) {
    if (error instanceof CheckpointError) throw error;
    throw damaged(path, (error as Error).message);
  }
  if (typeof files !== "object" || files === null) throw damaged(path, "no list of files");
  const checksums = new Map<string, WrittenFile>();
  for (const [name, entry] of Object.entries(files)) {
    const { bytes, sha256 } = (entry ?? {}) as { bytes?: unknown; sha256?: unknown };
    const plain = /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name);
    if (!plain || !Number.isSafeInteger(bytes) || !/^[0-9a-f]{64}$/.test(String(sha256))) {
      throw damaged(path, `the entry ${JSON.stringify(name)}: ${JSON.stringify(entry)}`);
    }
    checksums.set(name, { bytes: bytes as number, sha256: sha256 as string });
  }
  if (formatChecksums(checksums) !== text) throw damaged(path, "other bytes");
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

function damaged(path: string, found: string): CheckpointError {
  return new CheckpointError(
    `Cannot read ${path} as it must be as it was written: current value is ${found}; ` +
      `use another checkpoint`,
  );
}
