/**
 * The bytes of a text file, decompressed on the way.
 *
 * @module
 */
import { pipeline, Readable, type Transform } from "node:stream";
import { constants, createGunzip, createZstdDecompress } from "node:zlib";
import { type FramePart, MAX_WINDOW_LOG, ZstdFrameSplitter } from "./zstd_frames.ts";
import type { SourceFile } from "./source_files.ts";

const CHUNK_BYTES = 1 << 18;

/** Windows beyond the decoder's usual 2^27 bytes, as `zstd --long` makes them; they take memory as they fill. */
const ZSTD_OPTIONS = { params: { [constants.ZSTD_d_windowLogMax]: MAX_WINDOW_LOG } };

type Chunks = AsyncGenerator<Uint8Array, void, undefined>;

/**
 * Yields a file's content in chunks that are good until the next one is asked for.
 *
 * @param onRead Told the bytes read from disk, for progress.
 * @throws {Error} Where the compressed data is damaged or cut short.
 */
export function readBytes(file: SourceFile, onRead: (bytes: number) => void): Chunks {
  const stored = readStored(file.path, onRead);
  if (file.compression === "none") return stored;
  // The gunzip stream reads all members of a file, one after the other; the zstd one only the first frame.
  return file.compression === "gz" ? through(stored, createGunzip()) : unzstd(stored);
}

async function* readStored(path: string, onRead: (bytes: number) => void): Chunks {
  using file = await Deno.open(path);
  for (;;) {
    // A fresh buffer each time: a decompressor may still hold the last one.
    const buffer = new Uint8Array(CHUNK_BYTES);
    const read = await file.read(buffer);
    if (read === null) return;
    onRead(read);
    yield buffer.subarray(0, read);
  }
}

/**
 * Decompresses frame by frame. The decompressor gets a block at most at a time: of an error that it meets later in
 * what it was given, once its first output is full, Deno makes an uncaught one that nobody can hear.
 */
async function* unzstd(stored: Chunks): Chunks {
  const splitter = new ZstdFrameSplitter();
  const parts = frameParts(stored, splitter);
  try {
    for (let first = await parts.next(); !first.done; first = await parts.next()) {
      yield* through(oneFrame(first.value, parts), createZstdDecompress(ZSTD_OPTIONS));
    }
  } finally {
    await parts.return(undefined);
  }
}

async function* frameParts(
  stored: Chunks,
  splitter: ZstdFrameSplitter,
): AsyncGenerator<FramePart, void, undefined> {
  for await (const chunk of stored) yield* splitter.split(chunk);
  if (!splitter.isBetweenFrames) throw new Error("unexpected end of file");
}

async function* oneFrame(
  first: FramePart,
  parts: AsyncGenerator<FramePart, void, undefined>,
): Chunks {
  for (let part = first;;) {
    yield part.bytes;
    if (part.ends) return;
    const next = await parts.next();
    if (next.done) return;
    part = next.value;
  }
}

/** Sends chunks through a decompressor; errors of either side come out of the iteration. */
async function* through(chunks: Chunks, decompressor: Transform): Chunks {
  let failure: unknown;
  const source = Readable.from(chunks, { objectMode: false });
  pipeline(source, decompressor, (error) => failure = error ?? undefined);
  try {
    for await (const chunk of decompressor) yield chunk as Uint8Array;
  } finally {
    source.destroy();
    decompressor.destroy();
  }
  if (failure !== undefined) throw failure;
}
