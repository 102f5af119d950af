/**
 * Encoding and decoding by the native library.
 *
 * @module
 */

import type { NativeLibrary } from "../ffi/library.ts";
import { TokenizerError } from "./errors.ts";
import type { EncodeBatchOptions, EncodedBatch, Tokenizer } from "./tokenizer.ts";
import type { Vocabulary } from "./vocabulary.ts";

// Scratch memory above this is given back after the call that needed it.
const KEPT_SCRATCH_BYTES = 64 * 2 ** 20;

// Modes of tb_tokenizer_decode.
const STRIP = 1;
const REPLACE = 2;

/** What a {@linkcode NativeTokenizer} is made of. */
export interface NativeTokenizerParts {
  readonly library: NativeLibrary;
  readonly spec: Uint8Array;
  /** Makes the one for special tokens read as text; null where `spec` serves. */
  readonly plainSpec: (() => Uint8Array) | null;
  readonly vocabulary: Vocabulary;
  readonly json: Uint8Array;
  readonly hash: string;
  readonly bosId: number | null;
  readonly eosId: number | null;
  readonly startIds: readonly number[];
  readonly file: string;
}

/** A tokenizer on the native engine. For one thread at a time. */
export class NativeTokenizer implements Tokenizer {
  readonly engine = "native";
  readonly engineReason = null;
  readonly vocabSize: number;
  readonly bosId: number | null;
  readonly eosId: number | null;
  readonly startIds: readonly number[];
  readonly hash: string;
  readonly json: Uint8Array;
  readonly specialIds: ReadonlySet<number>;

  readonly #symbols: NativeLibrary["symbols"];
  readonly #vocabulary: Vocabulary;
  readonly #count = new BigInt64Array(1);
  readonly #oneEnd = new Float64Array(1);
  readonly #oneIdEnd = new Float64Array(1);
  readonly #parts: Pick<NativeTokenizerParts, "library" | "plainSpec" | "file">;
  #handle: bigint;
  #plain = 0n; // made when special tokens are first read as text, where that needs a model of its own
  #text = new Uint8Array(4096);
  #ids = new Uint32Array(8192);
  #decoded = new Uint8Array(4096);

  /** Throws {@linkcode TokenizerError} where the library refuses the specification. */
  constructor(parts: NativeTokenizerParts) {
    this.vocabSize = parts.vocabulary.size;
    this.specialIds = parts.vocabulary.specialIds;
    this.bosId = parts.bosId;
    this.eosId = parts.eosId;
    this.startIds = parts.startIds;
    this.hash = parts.hash;
    this.json = parts.json;
    this.#vocabulary = parts.vocabulary;
    this.#symbols = parts.library.symbols;
    this.#parts = { library: parts.library, plainSpec: parts.plainSpec, file: parts.file };
    this.#handle = create(parts, parts.spec);
  }

  encode(text: string | Uint8Array): Uint32Array {
    let bytes: Uint8Array;
    if (typeof text === "string") {
      // A UTF-16 unit takes at most three bytes.
      if (this.#text.length < 3 * text.length) this.#text = new Uint8Array(3 * text.length);
      const { written } = encoder.encodeInto(text, this.#text);
      bytes = this.#text.subarray(0, written);
    } else {
      bytes = text;
    }
    this.#oneEnd[0] = bytes.length;
    return this.#encode(bytes, this.#oneEnd, this.#oneIdEnd, {});
  }

  encodeBatch(
    documents: readonly Uint8Array[],
    options: EncodeBatchOptions = {},
  ): EncodedBatch {
    const textEnds = new Float64Array(documents.length);
    let bytes = 0;
    documents.forEach((document, i) => textEnds[i] = bytes += document.length);
    let text = documents[0] ?? new Uint8Array(0);
    if (documents.length > 1) {
      if (this.#text.length < bytes) this.#text = new Uint8Array(bytes);
      text = this.#text.subarray(0, bytes);
      documents.forEach((document, i) => text.set(document, textEnds[i]! - document.length));
    }
    const ends = new Float64Array(documents.length);
    const ids = this.#encode(text, textEnds, ends, options);
    return { ids, ends };
  }

  /** Encodes documents that lie end to end; fills `idEnds`. */
  #encode(
    text: Uint8Array,
    ends: Float64Array<ArrayBuffer>,
    idEnds: Float64Array<ArrayBuffer>,
    options: EncodeBatchOptions,
  ): Uint32Array {
    const handle = options.specialsAsText ? this.#openPlain() : this.#open();
    const endId = options.endId ?? -1;
    if (endId !== -1 && !(Number.isInteger(endId) && endId >= 0 && endId < this.vocabSize)) {
      throw new RangeError(
        `Cannot end documents as endId must be an id below ${this.vocabSize}: current value is ${endId}`,
      );
    }
    const capacity = 2 * (text.length + ends.length);
    if (this.#ids.length < capacity) this.#ids = new Uint32Array(capacity);
    const status = this.#symbols.tb_tokenizer_encode(
      handle,
      text as Uint8Array<ArrayBuffer>,
      ends,
      BigInt(ends.length),
      BigInt(endId),
      options.specialsAsText ? 1 : 0,
      this.#ids,
      BigInt(this.#ids.length),
      idEnds,
      this.#count,
    );
    if (status !== 0) throw this.#failed("encode", status);
    const ids = this.#ids.slice(0, Number(this.#count[0]));
    if (this.#ids.byteLength > KEPT_SCRATCH_BYTES) this.#ids = new Uint32Array(8192);
    if (this.#text.byteLength > KEPT_SCRATCH_BYTES) this.#text = new Uint8Array(4096);
    return ids;
  }

  decode(ids: Uint32Array | readonly number[]): string {
    return decoder.decode(this.#decode(ids, STRIP | REPLACE));
  }

  decodeBytes(ids: Uint32Array | readonly number[]): Uint8Array {
    return this.#decode(ids, STRIP).slice();
  }

  tokenBytes(id: number): Uint8Array {
    return this.#decode([id], 0).slice();
  }

  tokenName(id: number): string | null {
    return this.#vocabulary.names[id] ?? null;
  }

  idOf(token: string): number | null {
    return this.#vocabulary.ids.get(token) ?? null;
  }

  /** The decoded bytes, in scratch memory. */
  #decode(ids: Uint32Array | readonly number[], mode: number): Uint8Array {
    const handle = this.#open();
    const array = ids instanceof Uint32Array ? ids : checkedIds(ids, this.vocabSize);
    for (;;) {
      const status = this.#symbols.tb_tokenizer_decode(
        handle,
        array as Uint32Array<ArrayBuffer>,
        BigInt(array.length),
        mode,
        this.#decoded,
        BigInt(this.#decoded.length),
        this.#count,
      );
      const written = Number(this.#count[0]);
      if (status === 0) return this.#decoded.subarray(0, written);
      if (written < 0) throw idOutOfRange(array[-1 - written]!, -1 - written, this.vocabSize);
      if (written <= this.#decoded.length) throw this.#failed("decode", status);
      this.#decoded = new Uint8Array(written);
    }
  }

  #open(): bigint {
    if (this.#handle === 0n) {
      throw new TypeError("Cannot use a tokenizer that was disposed: load it again");
    }
    return this.#handle;
  }

  #openPlain(): bigint {
    const handle = this.#open();
    const { plainSpec } = this.#parts;
    if (plainSpec === null) return handle;
    if (this.#plain === 0n) this.#plain = create(this.#parts, plainSpec());
    return this.#plain;
  }

  #failed(what: string, status: number): TokenizerError {
    return new TokenizerError(
      status === 3
        ? `Cannot ${what} as the native tokenizer needs more memory than there is: give shorter pieces`
        : `Cannot ${what}: the native tokenizer answered with status ${status}; this is an error of TitanBit`,
    );
  }

  [Symbol.dispose](): void {
    for (const handle of [this.#handle, this.#plain]) {
      if (handle !== 0n) this.#symbols.tb_tokenizer_destroy(handle);
    }
    this.#handle = this.#plain = 0n;
  }
}

function create(
  { library, file }: Pick<NativeTokenizerParts, "library" | "file">,
  spec: Uint8Array,
): bigint {
  const handle = new BigUint64Array(1);
  const reason = new Uint8Array(512);
  const status = library.symbols.tb_tokenizer_create(
    spec as Uint8Array<ArrayBuffer>,
    BigInt(spec.length),
    handle,
    reason,
    BigInt(reason.length),
  );
  if (status === 0) return handle[0]!;
  const text = new TextDecoder().decode(reason.subarray(0, reason.indexOf(0)));
  throw new TokenizerError(
    `Cannot load ${file} into the native tokenizer: ${text}; repair the file or give another`,
    { file },
  );
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Ids of an array as u32; a value that would wrap is an error. */
function checkedIds(ids: readonly number[], vocabSize: number): Uint32Array {
  ids.forEach((id, i) => {
    if (!(Number.isInteger(id) && id >= 0 && id < vocabSize)) throw idOutOfRange(id, i, vocabSize);
  });
  return Uint32Array.from(ids);
}

/** The error of an id that no token has. */
export function idOutOfRange(id: number, index: number, vocabSize: number): RangeError {
  return new RangeError(
    `Cannot decode as every id must be below the vocabulary's ${vocabSize}: current value is ${id} at index ${index}`,
  );
}
