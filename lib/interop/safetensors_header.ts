/**
 * The header of a safetensors file: 8 bytes of length (u64, little-endian), that many bytes of JSON,
 * then the data. An entry is `{dtype, shape, data_offsets: [begin, end)}`, relative to the start of
 * the data; `__metadata__` maps strings to strings. Reading is strict: no holes, no overlaps, no
 * duplicate keys, no trailing bytes. Format: github.com/huggingface/safetensors, README.
 *
 * @module
 */

import { describeValue } from "../std/describe.ts";
import { parseJsonValue } from "../std/json.ts";
import { InteropError } from "./errors.ts";

/** Bits of an element of each dtype, in the format's own order (the writer sorts by it, descending). */
export const DTYPE_BITS = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
} as const;

/** The name of an element type in a safetensors header. */
export type SafetensorsDtype = keyof typeof DTYPE_BITS;

/** Name, element type and row-major shape of a tensor; a shape of `[]` is a scalar. */
export interface TensorSpec {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: SafetensorsDtype;
}

/** A tensor of a file: its spec and the range of bytes it takes, relative to the start of the data. */
export interface TensorInfo extends TensorSpec {
  readonly begin: number;
  readonly end: number;
}

/** What a header says. */
export interface SafetensorsHeader {
  /** The tensors by name, in the order of their data. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Longest header in bytes that the format allows. */
export const MAX_HEADER_BYTES = 100_000_000;

/** Bytes before the header: its length. */
export const PREFIX_BYTES = 8;

const DTYPE_RANK = new Map(Object.keys(DTYPE_BITS).map((name, rank) => [name, rank]));

/**
 * Bytes of a tensor's data.
 *
 * @throws {RangeError} when a dimension is not a whole number, the size passes 2^53, or the elements
 * do not fill whole bytes.
 */
export function tensorBytes(spec: TensorSpec): number {
  let bits: number = DTYPE_BITS[spec.dtype];
  const empty = spec.shape.includes(0);
  for (const size of spec.shape) {
    if (!Number.isSafeInteger(size) || size < 0) {
      throw new RangeError(
        `Cannot size tensor ${
          describeValue(spec.name)
        } as each dimension must be a whole number: ` +
          `current value is ${shapeText(spec.shape)}`,
      );
    }
    bits *= empty ? 1 : size;
    if (!Number.isSafeInteger(bits)) {
      throw new RangeError(
        `Cannot size tensor ${describeValue(spec.name)} as it must have fewer than 2^53 bits: ` +
          `current value is ${shapeText(spec.shape)} of ${spec.dtype}`,
      );
    }
  }
  if (empty) return 0;
  if (bits % 8 !== 0) {
    throw new RangeError(
      `Cannot size tensor ${describeValue(spec.name)} as its elements must fill whole bytes: ` +
        `current value is ${bits} bits`,
    );
  }
  return bits / 8;
}

/** The length prefix and JSON of a file of these tensors, and where each tensor goes. */
export interface EncodedHeader {
  /** Prefix and JSON, a multiple of 8 bytes. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The tensors in the order of their data: dtype descending, then name by its UTF-8 bytes. */
  readonly tensors: readonly TensorInfo[];
  /** Bytes of the whole file. */
  readonly fileBytes: number;
}

/**
 * Lays out a file.
 *
 * @throws {RangeError} on two tensors of one name, the reserved name, an impossible shape, or a
 * header longer than {@linkcode MAX_HEADER_BYTES}.
 */
export function encodeHeader(
  specs: readonly TensorSpec[],
  metadata: Readonly<Record<string, string>>,
): EncodedHeader {
  const encoder = new TextEncoder();
  const sorted = specs
    .map((spec) => ({ spec, key: encoder.encode(spec.name), rank: DTYPE_RANK.get(spec.dtype)! }))
    .sort((a, b) => b.rank - a.rank || compareBytes(a.key, b.key));
  const tensors: TensorInfo[] = [];
  const seen = new Set<string>();
  const entries = [`"__metadata__":${JSON.stringify(metadata)}`];
  let offset = 0;
  for (const { spec: { name, dtype, shape } } of sorted) {
    if (name === "__metadata__" || seen.has(name)) {
      throw new RangeError(
        `Cannot write a safetensors file as tensor names must be unique and not "__metadata__": ` +
          `current value is "${name}"`,
      );
    }
    seen.add(name);
    const end = offset + tensorBytes({ name, dtype, shape });
    tensors.push({ name, dtype, shape: [...shape], begin: offset, end });
    // Built by hand: an object would move names that look like array indexes to the front.
    entries.push(
      `${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape.join(",")}],` +
        `"data_offsets":[${offset},${end}]}`,
    );
    offset = end;
  }
  const json = encoder.encode(`{${entries.join(",")}}`);
  const length = Math.ceil(json.length / 8) * 8;
  if (length > MAX_HEADER_BYTES) {
    throw new RangeError(
      `Cannot write a safetensors file as its header must be at most ${MAX_HEADER_BYTES} bytes: ` +
        `current value is ${length}`,
    );
  }
  const bytes = new Uint8Array(PREFIX_BYTES + length).fill(0x20, PREFIX_BYTES + json.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(json, PREFIX_BYTES);
  return { bytes, tensors, fileBytes: bytes.length + offset };
}

/**
 * Reads the length prefix of a file.
 *
 * @param prefix The first bytes of the file, 8 unless it is shorter.
 * @throws {InteropError} when the file cannot hold the header it announces.
 */
export function parsePrefix(
  prefix: Uint8Array,
  { path, fileBytes }: { path: string; fileBytes: number },
): number {
  if (fileBytes < PREFIX_BYTES || prefix.length < PREFIX_BYTES) {
    throw broken(path, `it must start with 8 bytes of header length`, `${fileBytes} bytes`);
  }
  const length = new DataView(prefix.buffer, prefix.byteOffset, PREFIX_BYTES)
    .getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw broken(path, `its header must be at most ${MAX_HEADER_BYTES} bytes`, `${length}`);
  }
  if (length > BigInt(fileBytes - PREFIX_BYTES)) {
    throw broken(
      path,
      `its header of ${length} bytes must lie inside the file`,
      `${fileBytes} bytes in the whole file`,
    );
  }
  return Number(length);
}

/**
 * Reads a header and holds it to every rule of the format.
 *
 * @param json The header's bytes, without the length prefix.
 * @param options `dataBytes`: bytes of the file after the header.
 * @throws {InteropError} naming the file, the tensor, what was expected and what was found.
 */
export function parseHeader(
  json: Uint8Array,
  { path, dataBytes }: { path: string; dataBytes: number },
): SafetensorsHeader {
  const root = parseJson(json, path);
  let metadata: Record<string, string> = {};
  const infos: TensorInfo[] = [];
  for (const [name, value] of Object.entries(root)) {
    if (name === "__metadata__") metadata = parseMetadata(value, path);
    else infos.push(parseTensor(name, value, path));
  }
  infos.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let previousEnd = 0;
  let previousName = "the start of the data";
  for (const info of infos) {
    if (info.begin !== previousEnd) {
      const what = info.begin < previousEnd ? "overlap" : "hole";
      throw broken(
        path,
        `tensor ${
          describeValue(info.name)
        } must begin at byte ${previousEnd}, the end of ${previousName}`,
        `${info.begin} (${what})`,
      );
    }
    previousEnd = info.end;
    previousName = `tensor ${describeValue(info.name)}`;
  }
  if (previousEnd !== dataBytes) {
    const what = previousEnd > dataBytes ? "the file is cut off" : "bytes trail the last tensor";
    throw broken(
      path,
      `its tensors must fill the file: ${previousEnd} bytes of data`,
      `${dataBytes} (${what})`,
    );
  }
  return { tensors: new Map(infos.map((info) => [info.name, info])), metadata };
}

function parseJson(json: Uint8Array, path: string): Record<string, unknown> {
  if (json[0] !== 0x7b) {
    const found = json.length === 0 ? "an empty header" : `byte 0x${json[0]!.toString(16)}`;
    throw broken(path, `its header must begin with "{"`, found);
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(json);
  } catch {
    throw broken(path, `its header must be UTF-8`, "an invalid byte sequence");
  }
  const root = parseJsonValue(text, {
    path: `the header of ${path}`,
    maxBytes: MAX_HEADER_BYTES,
    fail: (message, { cause }) => new InteropError(message, { cause }),
    remedy: "fetch or save the file again",
  });
  const duplicate = findDuplicateKey(text);
  if (duplicate !== null) {
    throw broken(path, `keys of its header must be unique`, `${duplicate} twice`);
  }
  return root as Record<string, unknown>;
}

function parseMetadata(value: unknown, path: string): Record<string, string> {
  if (!isRecord(value) || !Object.values(value).every((item) => typeof item === "string")) {
    throw broken(path, `"__metadata__" must map strings to strings`, describeValue(value));
  }
  return value as Record<string, string>;
}

function parseTensor(name: string, value: unknown, path: string): TensorInfo {
  if (!isRecord(value)) {
    throw broken(path, `tensor ${describeValue(name)} must be an object`, describeValue(value));
  }
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== "string" || !Object.hasOwn(DTYPE_BITS, dtype)) {
    throw broken(
      path,
      `tensor ${describeValue(name)} must have a dtype of ${Object.keys(DTYPE_BITS).join(", ")}`,
      describeValue(dtype),
    );
  }
  if (!isCounts(shape)) {
    throw broken(
      path,
      `tensor ${describeValue(name)} must have a shape of whole numbers`,
      describeValue(shape),
    );
  }
  if (!isCounts(offsets) || offsets.length !== 2 || offsets[1]! < offsets[0]!) {
    throw broken(
      path,
      `tensor ${describeValue(name)} must have data_offsets [begin, end] with begin <= end`,
      describeValue(offsets),
    );
  }
  const [begin, end] = offsets as [number, number];
  const spec = { name, dtype: dtype as SafetensorsDtype, shape };
  let bytes: number;
  try {
    bytes = tensorBytes(spec);
  } catch (error) {
    throw new InteropError(`Cannot read ${path}: ${(error as Error).message}`, { cause: error });
  }
  if (end - begin !== bytes) {
    throw broken(
      path,
      `tensor ${describeValue(name)} of ${dtype} ${shapeText(shape)} must take ${bytes} bytes`,
      `${end - begin}`,
    );
  }
  return { ...spec, begin, end };
}

/** The first key that an object of this valid JSON text holds twice, quoted, or null. */
export function findDuplicateKey(json: string): string | null {
  const scopes: (Set<string> | null)[] = []; // one an open bracket; null for an array
  const token = /"(?:[^"\\]|\\.)*"(\s*:)?|[{}[\]]/gsy;
  const skip = /[^"{}[\]]+/gy;
  for (let at = 0; at < json.length;) {
    skip.lastIndex = at;
    if (skip.test(json)) at = skip.lastIndex;
    token.lastIndex = at;
    const match = token.exec(json);
    if (match === null) return null;
    at = token.lastIndex;
    const text = match[0];
    if (text === "{") scopes.push(new Set());
    else if (text === "[") scopes.push(null);
    else if (text === "}" || text === "]") scopes.pop();
    else if (match[1] !== undefined) {
      const key = JSON.parse(text.slice(0, text.length - match[1].length)) as string;
      const scope = scopes.at(-1);
      if (scope?.has(key)) return describeValue(key);
      scope?.add(key);
    }
  }
  return null;
}

/** A shape as messages show it: `[20, 12]`. */
export function shapeText(shape: readonly number[]): string {
  return shape.length <= 8 ? `[${shape.join(", ")}]` : describeValue(shape);
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    if (a[i] !== b[i]) return a[i]! - b[i]!;
  }
  return a.length - b.length;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}

function broken(path: string, rule: string, found: string): InteropError {
  return new InteropError(
    `Cannot read ${path} as safetensors as ${rule}: current value is ${found}; ` +
      `fetch or save the file again`,
  );
}
