/**
 * Headers of token files: TitanBit's own, llm.c's and nanoGPT's headerless one. See docs/formats.md.
 *
 * @module
 */
import { crc32 } from "node:zlib";
import { MOST_START_IDS } from "../tokenizer/start_of_text.ts";
import { DataError, reading } from "./errors.ts";
import { describeValue } from "../std/describe.ts";

/** Bytes before the first token of a TitanBit token file: one page, so that a mapping's tokens are page-aligned. */
export const HEADER_BYTES = 4096;

const MAGIC = "TITANTOK";
const VERSION = 1;
const START_COUNT_OFFSET = 80;
const CHECKSUM_OFFSET = HEADER_BYTES - 4;
const LLMC_HEADER_BYTES = 1024;
const LLMC_KINDS = new Map<number, { version: number; tokenWidth: TokenWidth }>([
  [20240520, { version: 1, tokenWidth: 2 }],
  [20240801, { version: 7, tokenWidth: 4 }],
]);
const LLMC_OTHER = new Map<number, string>([
  [20240522, "an llm.c multiple-choice evaluation file"],
  [20240326, "an llm.c model checkpoint"],
  [20240527, "an llm.c optimizer state"],
  [20240327, "an llm.c debug state"],
]);

/** Bytes of one token. */
export type TokenWidth = 2 | 4;

/** What the header of a token file says; `null` where its format has no such field. */
export interface TokenFileInfo {
  readonly format: "titanbit" | "llm.c" | "nanogpt";
  readonly tokenWidth: TokenWidth;
  readonly tokenCount: number;
  /** Bytes before the first token. */
  readonly dataOffset: number;
  /** Ids are below it. */
  readonly vocabSize: number | null;
  readonly documentCount: number | null;
  /** Id after each document. */
  readonly endOfDocumentId: number | null;
  /** Ids before each document's own; none in a file that was written before there was the field. */
  readonly startIds: readonly number[] | null;
  /** SHA-256 of the tokenizer.json that made the ids, in hex. */
  readonly tokenizerHash: string | null;
}

/** The fields of a TitanBit header. */
export interface TitanBitHeader {
  tokenWidth: TokenWidth;
  vocabSize: number;
  tokenCount: number;
  documentCount: number;
  endOfDocumentId: number | null;
  startIds: readonly number[];
  tokenizerHash: string | null;
}

/** Smallest width that holds every id of a vocabulary. */
export function tokenWidthFor(vocabSize: number): TokenWidth {
  return vocabSize <= 65536 ? 2 : 4;
}

/** The 4096 bytes of a TitanBit header. */
export function encodeHeader(header: TitanBitHeader): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode(MAGIC));
  view.setUint32(8, VERSION, true);
  view.setUint32(12, header.tokenWidth, true);
  view.setBigUint64(16, BigInt(header.vocabSize), true);
  view.setBigUint64(24, BigInt(header.tokenCount), true);
  view.setBigUint64(32, BigInt(header.documentCount), true);
  view.setBigInt64(40, BigInt(header.endOfDocumentId ?? -1), true);
  if (header.tokenizerHash !== null) bytes.set(fromHex(header.tokenizerHash), 48);
  view.setUint32(START_COUNT_OFFSET, header.startIds.length, true);
  header.startIds.forEach((id, i) => view.setUint32(START_COUNT_OFFSET + 4 + 4 * i, id, true));
  view.setUint32(CHECKSUM_OFFSET, crc32(bytes.subarray(0, CHECKSUM_OFFSET)), true);
  return bytes;
}

/**
 * Reads the head of a token file and checks it against the file's length.
 *
 * @param head The file's first 4096 bytes, or all where it is shorter.
 * @throws {DataError} Where the file is empty, cut short, too long, of a wrong magic or version, or its header is
 * damaged.
 */
export function decodeHeader(
  head: Uint8Array,
  file: { path: string; bytes: number },
): TokenFileInfo {
  const { path, bytes } = file;
  if (bytes === 0) {
    throw new DataError(
      `Cannot read ${path} as a token file holds at least one token: current length is 0 bytes. ` +
        "Write it again with `deno task tokenize`",
      { path },
    );
  }
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  if (head.length >= 8 && latin1(head.subarray(0, 8)) === MAGIC) return decodeOwn(view, file);
  const magic = head.length >= 4 ? view.getInt32(0, true) : 0;
  if (LLMC_KINDS.has(magic)) return decodeLlmc(view, file);
  if (LLMC_OTHER.has(magic)) {
    throw new DataError(
      `Cannot read ${path} as it must be a token file: it is ${LLMC_OTHER.get(magic)} ` +
        `(magic ${magic}). Pass a file of magic 20240520 or 20240801`,
      { path },
    );
  }
  if (!path.endsWith(".bin")) {
    throw new DataError(
      `Cannot read ${path} as a token file starts with "${MAGIC}": it starts with ${
        describeValue(latin1(head.subarray(0, 8)))
      }. Make it with \`deno task tokenize\`; nanoGPT's headerless uint16 files must be named *.bin`,
      { path },
    );
  }
  if (bytes % 2 !== 0) {
    throw new DataError(
      `Cannot read ${path} as nanoGPT's .bin holds 2 bytes a token: current length is ${bytes} bytes. ` +
        "It is cut short or of another format",
      { path },
    );
  }
  return {
    format: "nanogpt",
    tokenWidth: 2,
    tokenCount: bytes / 2,
    dataOffset: 0,
    vocabSize: null,
    documentCount: null,
    endOfDocumentId: null,
    startIds: null,
    tokenizerHash: null,
  };
}

/** Reads only the head of a file on disk. */
export function readTokenFileInfo(path: string): TokenFileInfo {
  return reading(path, () => {
    using file = openForReading(path);
    const { size, isFile } = file.statSync();
    if (!isFile) {
      throw new DataError(`Cannot read ${path} as a token file is a regular file`, { path });
    }
    const head = new Uint8Array(Math.min(HEADER_BYTES, size));
    for (let done = 0; done < head.length;) {
      const read = file.readSync(head.subarray(done));
      if (read === null) break;
      done += read;
    }
    return decodeHeader(head, { path, bytes: size });
  });
}

function openForReading(path: string): Deno.FsFile {
  try {
    return Deno.openSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new DataError(
        `Cannot read ${path} as there is no such file. Make it with \`deno task tokenize\``,
        { path, cause: error },
      );
    }
    throw error;
  }
}

function decodeOwn(view: DataView, file: { path: string; bytes: number }): TokenFileInfo {
  const { path, bytes } = file;
  if (view.byteLength < HEADER_BYTES) {
    throw new DataError(
      `Cannot read ${path} as its header has ${HEADER_BYTES} bytes: the file is cut short after ` +
        `${bytes}. Copy it again or make it again with \`deno task tokenize\``,
      { path },
    );
  }
  const head = new Uint8Array(view.buffer, view.byteOffset, HEADER_BYTES);
  const stored = view.getUint32(CHECKSUM_OFFSET, true);
  const computed = crc32(head.subarray(0, CHECKSUM_OFFSET));
  if (stored !== computed) {
    throw new DataError(
      `Cannot read ${path} as its header is damaged: its checksum is ${hex32(computed)}, ` +
        `${hex32(stored)} is stored. Copy it again or make it again with \`deno task tokenize\``,
      { path },
    );
  }
  const version = view.getUint32(8, true);
  if (version !== VERSION) {
    throw new DataError(
      `Cannot read ${path} as this build reads token files of version ${VERSION}: ` +
        `current version is ${version}. Update TitanBit or make the file again`,
      { path },
    );
  }
  const tokenWidth = view.getUint32(12, true);
  if (tokenWidth !== 2 && tokenWidth !== 4) {
    throw new DataError(
      `Cannot read ${path} as a token has 2 or 4 bytes: current width is ${tokenWidth}`,
      { path },
    );
  }
  const tokenCount = Number(view.getBigUint64(24, true));
  const endOfDocumentId = Number(view.getBigInt64(40, true));
  const hash = toHex(head.subarray(48, 80));
  const vocabSize = Number(view.getBigUint64(16, true));
  const startIds = decodeStart(view, { path, vocabSize });
  checkLength({ path, bytes, header: HEADER_BYTES, tokenCount, tokenWidth });
  return {
    format: "titanbit",
    tokenWidth,
    tokenCount,
    dataOffset: HEADER_BYTES,
    vocabSize,
    documentCount: Number(view.getBigUint64(32, true)),
    endOfDocumentId: endOfDocumentId < 0 ? null : endOfDocumentId,
    startIds,
    tokenizerHash: /^0*$/.test(hash) ? null : hash,
  };
}

function decodeStart(
  view: DataView,
  { path, vocabSize }: { path: string; vocabSize: number },
): readonly number[] {
  const count = view.getUint32(START_COUNT_OFFSET, true);
  const ids = Array.from(
    { length: Math.min(count, MOST_START_IDS) },
    (_, i) => view.getUint32(START_COUNT_OFFSET + 4 + 4 * i, true),
  );
  if (count <= MOST_START_IDS && ids.every((id) => id < vocabSize)) return ids;
  throw new DataError(
    `Cannot read ${path} as a document begins with at most ${MOST_START_IDS} ids below the vocabulary's ${vocabSize}: its header has ` +
      `${count}, ${ids.join(", ")}. Update TitanBit or make the file again`,
    { path },
  );
}

function decodeLlmc(view: DataView, file: { path: string; bytes: number }): TokenFileInfo {
  const { path, bytes } = file;
  if (bytes < LLMC_HEADER_BYTES) {
    throw new DataError(
      `Cannot read ${path} as the header of an llm.c file has ${LLMC_HEADER_BYTES} bytes: ` +
        `the file is cut short after ${bytes}`,
      { path },
    );
  }
  const magic = view.getInt32(0, true);
  const kind = LLMC_KINDS.get(magic)!;
  const version = view.getInt32(4, true);
  if (version !== kind.version) {
    throw new DataError(
      `Cannot read ${path} as llm.c files of magic ${magic} have version ${kind.version}: ` +
        `current version is ${version}`,
      { path },
    );
  }
  const tokenCount = view.getInt32(8, true);
  const { tokenWidth } = kind;
  checkLength({ path, bytes, header: LLMC_HEADER_BYTES, tokenCount, tokenWidth });
  return {
    format: "llm.c",
    tokenWidth,
    tokenCount,
    dataOffset: LLMC_HEADER_BYTES,
    vocabSize: null,
    documentCount: null,
    endOfDocumentId: null,
    startIds: null,
    tokenizerHash: null,
  };
}

function checkLength(
  file: { path: string; bytes: number; header: number; tokenCount: number; tokenWidth: number },
): void {
  const { path, bytes, header, tokenCount, tokenWidth } = file;
  const expected = header + tokenCount * tokenWidth;
  if (tokenCount < 1) {
    throw new DataError(
      `Cannot read ${path} as a token file holds at least one token: its header says ${tokenCount}`,
      { path },
    );
  }
  if (bytes === expected) return;
  const held = Math.max(0, Math.floor((bytes - header) / tokenWidth));
  throw new DataError(
    `Cannot read ${path} as its header says ${tokenCount} tokens, ${expected} bytes: current length is ` +
      `${bytes} bytes (${held} tokens), it ${bytes < expected ? "is cut short" : "has a tail"}. ` +
      "Copy it again or make it again with `deno task tokenize`",
    { path },
  );
}

function latin1(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}

function hex32(value: number): string {
  return value.toString(16).padStart(8, "0");
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function fromHex(text: string): Uint8Array {
  if (!/^[0-9a-f]{64}$/.test(text)) {
    throw new RangeError(
      `Cannot store a tokenizer hash as it is 64 hex digits: current value is ${
        JSON.stringify(text)
      }`,
    );
  }
  return Uint8Array.from({ length: 32 }, (_, i) => parseInt(text.slice(2 * i, 2 * i + 2), 16));
}
