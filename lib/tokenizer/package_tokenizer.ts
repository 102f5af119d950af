/**
 * Encoding and decoding by the npm package `tokenizers`, for every tokenizer.json that the native engine does not speak.
 *
 * The package answers by promises alone, so it runs in a worker, and this thread waits for each answer.
 *
 * @module
 */

import { TokenizerError } from "./errors.ts";
import { idOutOfRange } from "./native_tokenizer.ts";
import type { EncodeBatchOptions, EncodedBatch, Tokenizer } from "./tokenizer.ts";
import { hideSpecials } from "./hide_specials.ts";
import type { StageJson, TokenizerJson } from "./tokenizer_json.ts";
import { bytesOfId, type Spelling, spellingOf, type Vocabulary } from "./vocabulary.ts";

/** Bytes that an answer travels by at a time. */
const PAGE_BYTES = 1 << 20;

/** What Deno must allow before the package can be loaded. */
const PERMISSIONS =
  "--allow-read, --allow-ffi and --allow-env=NAPI_RS_NATIVE_LIBRARY_PATH,NAPI_RS_FORCE_WASI";

/** What the worker is asked. */
export type PackageRequest =
  | {
    op: "load";
    json: string;
    /** The same without special tokens. */
    plainJson: string;
    control: SharedArrayBuffer;
    page: SharedArrayBuffer;
  }
  | { op: "encode"; texts: string[]; specialsAsText: boolean }
  | { op: "decode"; ids: number[] }
  | { op: "more" };

/** Words of the memory shared with the worker. */
export const CONTROL = { state: 0, ok: 1, bytes: 2, words: 3 } as const;

/** What a {@linkcode PackageTokenizer} is made of. */
export interface PackageTokenizerParts {
  readonly parsed: TokenizerJson;
  readonly vocabulary: Vocabulary;
  readonly json: Uint8Array;
  readonly hash: string;
  readonly bosId: number | null;
  readonly eosId: number | null;
  readonly startIds: readonly number[];
  /** Names of the tokens that are hidden where special ones are read as text. */
  readonly specials: ReadonlySet<string>;
  readonly file: string;
  readonly reason: string;
}

/** A tokenizer on the package `tokenizers`. */
export class PackageTokenizer implements Tokenizer {
  readonly engine = "tokenizers";
  readonly engineReason: string;
  readonly vocabSize: number;
  readonly bosId: number | null;
  readonly eosId: number | null;
  readonly startIds: readonly number[];
  readonly hash: string;
  readonly json: Uint8Array;
  readonly specialIds: ReadonlySet<number>;

  readonly #vocabulary: Vocabulary;
  readonly #spelling: Spelling;
  readonly #worker: Worker;
  readonly #control: Int32Array<SharedArrayBuffer>;
  readonly #page: Uint8Array<SharedArrayBuffer>;

  private constructor(
    parts: PackageTokenizerParts,
    shared: {
      worker: Worker;
      control: Int32Array<SharedArrayBuffer>;
      page: Uint8Array<SharedArrayBuffer>;
    },
  ) {
    this.engineReason = parts.reason;
    this.vocabSize = parts.vocabulary.size;
    this.specialIds = parts.vocabulary.specialIds;
    this.bosId = parts.bosId;
    this.eosId = parts.eosId;
    this.startIds = parts.startIds;
    this.hash = parts.hash;
    this.json = parts.json;
    this.#vocabulary = parts.vocabulary;
    this.#spelling = spellingOf(parts.parsed);
    this.#worker = shared.worker;
    this.#control = shared.control;
    this.#page = shared.page;
  }

  /** Throws {@linkcode TokenizerError} where the package cannot be loaded or refuses the file. */
  static async load(parts: PackageTokenizerParts): Promise<PackageTokenizer> {
    const control = new Int32Array(new SharedArrayBuffer(4 * CONTROL.words));
    const page = new Uint8Array(new SharedArrayBuffer(PAGE_BYTES));
    // Truncation and padding belong to whoever feeds a model; here every id counts.
    const whole = {
      ...JSON.parse(decoder.decode(parts.json)),
      truncation: null,
      padding: null,
    };
    const { parsed, specials } = parts;
    const hidden = hideSpecials(parsed, specials);
    const json = JSON.stringify({ ...whole, model: refuseLoss(whole.model) });
    const plainJson = JSON.stringify({
      ...whole,
      added_tokens: hidden.added_tokens,
      model: refuseLoss(hidden.model),
    });
    const worker = new Worker(new URL("./package_worker.ts", import.meta.url), { type: "module" });
    try {
      const loaded = new Promise<string | null>((resolve, reject) => {
        worker.onmessage = (event: MessageEvent<string | null>) => resolve(event.data);
        worker.onerror = (event) => {
          event.preventDefault();
          reject(new Error(event.message));
        };
      });
      const request: PackageRequest = {
        op: "load",
        json,
        plainJson,
        control: control.buffer,
        page: page.buffer,
      };
      worker.postMessage(request);
      const reason = await loaded;
      if (reason !== null) throw new Error(reason);
    } catch (error) {
      worker.terminate();
      const reason = error instanceof Error ? error.message : String(error);
      throw new TokenizerError(
        `Cannot load ${parts.file} as the native tokenizer does not run it (${parts.reason}) and the package ` +
          `"tokenizers" failed: ${reason}; that package needs ${PERMISSIONS}`,
        { file: parts.file, cause: error },
      );
    }
    return new PackageTokenizer(parts, { worker, control, page });
  }

  encode(text: string | Uint8Array): Uint32Array {
    const string = typeof text === "string" ? text : decoder.decode(text);
    return this.#encode([string], false)[0]!;
  }

  encodeBatch(
    documents: readonly Uint8Array[],
    options: EncodeBatchOptions = {},
  ): EncodedBatch {
    const texts = documents.map((document) => decoder.decode(document));
    const encoded = this.#encode(texts, options.specialsAsText ?? false);
    const tail = options.endId === undefined ? [] : [options.endId];
    const ends = new Float64Array(documents.length);
    let total = 0;
    encoded.forEach((ids, i) => ends[i] = total += ids.length + tail.length);
    const ids = new Uint32Array(total);
    encoded.forEach((part, i) => {
      ids.set(part, ends[i]! - part.length - tail.length);
      ids.set(tail, ends[i]! - tail.length);
    });
    return { ids, ends };
  }

  decode(ids: Uint32Array | readonly number[]): string {
    ids.forEach((id, i) => {
      if (!(id >= 0 && id < this.vocabSize)) throw idOutOfRange(id, i, this.vocabSize);
    });
    let text = "";
    let from = 0;
    const decodeUpTo = (end: number) => {
      if (end > from) {
        text += decoder.decode(this.#ask({ op: "decode", ids: [...ids.slice(from, end)] }));
      }
      from = end + 1;
    };
    ids.forEach((id, i) => {
      if (!this.#vocabulary.literalIds.has(id)) return;
      decodeUpTo(i);
      text += this.#vocabulary.names[id];
    });
    decodeUpTo(ids.length);
    return text;
  }

  decodeBytes(ids: Uint32Array | readonly number[]): Uint8Array {
    return new TextEncoder().encode(this.decode(ids));
  }

  tokenBytes(id: number): Uint8Array {
    if (!(id >= 0 && id < this.vocabSize)) throw idOutOfRange(id, 0, this.vocabSize);
    return bytesOfId(this.#vocabulary, id, this.#spelling);
  }

  tokenName(id: number): string | null {
    return this.#vocabulary.names[id] ?? null;
  }

  idOf(token: string): number | null {
    return this.#vocabulary.ids.get(token) ?? null;
  }

  /** Ids of each text. An answer is, for each text, a count and that many ids, all u32. */
  #encode(texts: string[], specialsAsText: boolean): Uint32Array[] {
    const words = new Uint32Array(this.#ask({ op: "encode", texts, specialsAsText }).buffer);
    let at = 0;
    return texts.map(() => {
      const count = words[at]!;
      at += 1 + count;
      return words.slice(at - count, at);
    });
  }

  /** Asks the worker and waits; the answer comes page by page. */
  #ask(request: PackageRequest): Uint8Array<ArrayBuffer> {
    let answer: Uint8Array<ArrayBuffer> | null = null;
    for (let at = 0;;) {
      Atomics.store(this.#control, CONTROL.state, 0);
      this.#worker.postMessage(at === 0 ? request : { op: "more" } satisfies PackageRequest);
      Atomics.wait(this.#control, CONTROL.state, 0);
      answer ??= new Uint8Array(this.#control[CONTROL.bytes]!);
      const count = Math.min(PAGE_BYTES, answer.length - at);
      answer.set(this.#page.subarray(0, count), at);
      at += count;
      if (at >= answer.length) break;
    }
    if (this.#control[CONTROL.ok] === 1) return answer;
    throw new TokenizerError(
      `Cannot ${request.op} as the package "tokenizers" failed: ${decoder.decode(answer)}`,
    );
  }

  [Symbol.dispose](): void {
    this.#worker.terminate();
  }
}

/** An `unk_token` that no vocabulary has: the package then fails where a BPE model would drop a character without a word. */
export const NO_UNKNOWN = "\u{10fffe}no token\u{10fffe}";

function refuseLoss(model: StageJson): StageJson {
  if (model.type !== "BPE" && !("merges" in model)) return model;
  return { ...model, unk_token: model["unk_token"] ?? NO_UNKNOWN };
}

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
