/**
 * Files of named tensors (safetensors), written and read a bounded chunk at a time: a model is never
 * held in memory twice.
 *
 * @module
 */

import { createHash, type Hash } from "node:crypto";
import { InteropError } from "./errors.ts";
import {
  encodeHeader,
  parseHeader,
  parsePrefix,
  PREFIX_BYTES,
  type TensorInfo,
  type TensorSpec,
} from "./safetensors_header.ts";

export type { SafetensorsDtype, TensorInfo, TensorSpec } from "./safetensors_header.ts";

/** A tensor to be written, which hands out its bytes range by range. */
export interface TensorSource extends TensorSpec {
  /**
   * Fills all of `into` with the tensor's bytes from `byteOffset` on (row-major, little-endian).
   * Called once for each range, in ascending order; `byteOffset` is a multiple of 8.
   */
  read(into: Uint8Array<ArrayBuffer>, byteOffset: number): void;
}

/** A {@linkcode TensorSource} whose bytes may take time to come, such as those of another file. */
export interface StreamedTensor extends TensorSpec {
  /** As a source's. */
  read(into: Uint8Array<ArrayBuffer>, byteOffset: number): Promise<void>;
}

/** A tensor to be filled, which takes its bytes range by range. */
export interface TensorSink extends TensorSpec {
  /**
   * Takes all of `from` as the tensor's bytes from `byteOffset` on (row-major, little-endian).
   * `from` is only valid during the call.
   */
  write(from: Uint8Array<ArrayBuffer>, byteOffset: number): void;
}

/** Options of {@linkcode writeSafetensors}. */
export interface WriteSafetensorsOptions {
  /** Strings for `__metadata__`. transformers wants `format`. @default { format: "pt" } */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Bytes moved at a time, rounded up to a multiple of 8. @default 4194304 */
  readonly chunkBytes?: number;
}

/** What was written. */
export interface WrittenFile {
  readonly bytes: number;
  /** SHA-256 of the file, 64 lower-case hexadecimal digits. */
  readonly sha256: string;
}

/** Bytes of a tensor moved at a time. */
export const CHUNK_BYTES = 4 * 1024 * 1024;

/**
 * Writes tensors to an open, empty file. The caller syncs and closes it.
 *
 * Everything is checked before the first byte is written. The digest is computed on the way, while
 * the operating system takes the same chunk and the next one is read.
 *
 * @throws {RangeError} on names or shapes that a file cannot hold; what the disk or a source throws
 * passes through unchanged.
 */
export async function writeSafetensors(
  file: Deno.FsFile,
  tensors: readonly (TensorSource | StreamedTensor)[],
  options: WriteSafetensorsOptions = {},
): Promise<WrittenFile> {
  const { metadata = { format: "pt" }, chunkBytes = CHUNK_BYTES } = options;
  const header = encodeHeader(tensors, metadata);
  const sources = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const size = Math.max(8, Math.ceil(chunkBytes / 8) * 8);
  const buffers = [new Uint8Array(size), new Uint8Array(size)] as const;
  const hash = createHash("sha256");
  let pending = writeAndHash(file, header.bytes, hash);
  let turn = 0;
  try {
    for (const { name, begin, end } of header.tensors) {
      const source = sources.get(name)!;
      for (let offset = 0; offset < end - begin; offset += size) {
        const buffer = buffers[turn & 1]!;
        const chunk = buffer.subarray(0, Math.min(size, end - begin - offset));
        turn++;
        const reading: unknown = source.read(chunk, offset);
        // Both at once: a write that fails while a read is on its way must find someone who waits for it.
        await (reading instanceof Promise ? Promise.all([reading, pending]) : pending);
        pending = writeAndHash(file, chunk, hash);
      }
    }
  } finally {
    await pending; // also when a source threw: the file must not be closed under a write
  }
  return { bytes: header.fileBytes, sha256: hash.digest("hex") };
}

async function writeAndHash(file: Deno.FsFile, chunk: Uint8Array, hash: Hash): Promise<void> {
  const first = file.write(chunk);
  hash.update(chunk);
  let written = await first;
  while (written < chunk.length) written += await file.write(chunk.subarray(written));
}

/** Tensors that can be read by name: one file, or the shards of one model. */
export interface TensorReader {
  /** For messages: the path of the file or folder. */
  readonly path: string;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** Fills all of `into` with the bytes of tensor `name` from `byteOffset` on. */
  readInto(name: string, into: Uint8Array, byteOffset: number): Promise<void>;
}

/** A safetensors file, open for reading. Its header was held to every rule of the format. */
export class SafetensorsFile implements TensorReader, Disposable {
  readonly path: string;
  /** The tensors by name, in the order of their data. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly #file: Deno.FsFile;
  readonly #dataStart: number;

  private constructor(path: string, file: Deno.FsFile) {
    const { isFile, size } = file.statSync();
    if (!isFile) {
      throw new InteropError(
        `Cannot read ${path} as safetensors as it must be a file: current value is a folder or device`,
      );
    }
    const prefix = readExactly(file, { path, offset: 0, bytes: Math.min(size, PREFIX_BYTES) });
    const length = parsePrefix(prefix, { path, fileBytes: size });
    const json = readExactly(file, { path, offset: PREFIX_BYTES, bytes: length });
    this.path = path;
    this.#file = file;
    this.#dataStart = PREFIX_BYTES + length;
    const header = parseHeader(json, { path, dataBytes: size - this.#dataStart });
    this.tensors = header.tensors;
    this.metadata = header.metadata;
  }

  /**
   * Opens a file and validates its header.
   *
   * @throws {InteropError} naming the file and the tensor when a rule is broken;
   * `Deno.errors.NotFound` when there is no such file.
   */
  static open(path: string): SafetensorsFile {
    const file = Deno.openSync(path);
    try {
      return new SafetensorsFile(path, file);
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /**
   * Fills all of `into` with the bytes of tensor `name` from `byteOffset` on. One call at a time: the
   * file has one position.
   *
   * @throws {RangeError} on an unknown name or a range outside the tensor; {@linkcode InteropError}
   * when the file was cut off after it was opened.
   */
  async readInto(name: string, into: Uint8Array, byteOffset: number): Promise<void> {
    const info = this.tensors.get(name);
    if (info === undefined) {
      throw new RangeError(
        `Cannot read a tensor of ${this.path} as its name must be in the file: current value is "${name}"`,
      );
    }
    const bytes = info.end - info.begin;
    if (!Number.isSafeInteger(byteOffset) || byteOffset < 0 || byteOffset + into.length > bytes) {
      throw new RangeError(
        `Cannot read tensor "${name}" of ${this.path} as the range must lie in its ${bytes} bytes: ` +
          `current value is [${byteOffset}, ${byteOffset + into.length})`,
      );
    }
    this.#file.seekSync(this.#dataStart + info.begin + byteOffset, Deno.SeekMode.Start);
    for (let done = 0; done < into.length;) {
      const count = await this.#file.read(into.subarray(done));
      if (count === null) throw cutOff(this.path, into.length, done);
      done += count;
    }
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

function readExactly(
  file: Deno.FsFile,
  { path, offset, bytes }: { path: string; offset: number; bytes: number },
): Uint8Array<ArrayBuffer> {
  const buffer = new Uint8Array(bytes);
  file.seekSync(offset, Deno.SeekMode.Start);
  for (let done = 0; done < bytes;) {
    const count = file.readSync(buffer.subarray(done));
    if (count === null) throw cutOff(path, bytes, done);
    done += count;
  }
  return buffer;
}

function cutOff(path: string, expected: number, found: number): InteropError {
  return new InteropError(
    `Cannot read ${path} as safetensors as ${expected} bytes must follow: current value is ${found}; ` +
      `the file was cut off while it was read`,
  );
}
