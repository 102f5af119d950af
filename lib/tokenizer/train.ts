/**
 * Learning a vocabulary from text.
 *
 * @module
 */

import { type NativeLibrary, openLibrary } from "../ffi/library.ts";
import { BYTE_CHARACTERS } from "./byte_alphabet.ts";
import { TokenizerError } from "./errors.ts";
import { describeValue } from "../std/describe.ts";

/** Options of {@linkcode TokenizerTrainer}. */
export interface TokenizerTrainerOptions {
  /** Tokens in all: special ones, 256 bytes, the alphabet (SentencePiece) and merges. */
  readonly vocabSize: number;
  /** `byte_level` has the GPT-2 split; `sentencepiece` falls back on bytes for rare characters. Default: `byte_level`. */
  readonly kind?: "byte_level" | "sentencepiece";
  /** They get the first ids. Default: `<|endoftext|>`, which ends documents. */
  readonly specialTokens?: readonly string[];
  /** Pairs seen less often are not merged. Default: 2. */
  readonly minFrequency?: number;
  /** Bytes of the table of distinct words; beyond it the rarest words are dropped. Default: 2 GiB. */
  readonly memoryLimit?: number;
  /** Default: all cores. Their number changes nothing but the time. */
  readonly threads?: number;
  /** The native library; opened where not given. */
  readonly library?: NativeLibrary;
}

const DEFAULT_MEMORY_LIMIT = 2 * 2 ** 30;
const TOKENS_A_STEP = 128;

/**
 * Trains a BPE vocabulary natively and writes a standard tokenizer.json.
 *
 * ```ts
 * using trainer = new TokenizerTrainer({ vocabSize: 8192 });
 * for (const document of documents) trainer.add(document);
 * await Deno.writeFile("tokenizer.json", trainer.train());
 * ```
 *
 * The same texts, cut into the same calls of `add`, give the same bytes on any number of threads.
 */
export class TokenizerTrainer {
  readonly #symbols: NativeLibrary["symbols"];
  readonly #kind: "byte_level" | "sentencepiece";
  readonly #specialTokens: readonly string[];
  #handle: bigint;
  #bytes = 0;
  #trained: Uint8Array | null = null;

  /** Throws `RangeError` where the options cannot be met. */
  constructor(options: TokenizerTrainerOptions) {
    this.#kind = options.kind ?? "byte_level";
    this.#specialTokens = options.specialTokens ?? ["<|endoftext|>"];
    checkOptions(options, this.#specialTokens, this.#kind);
    this.#symbols = (options.library ?? openLibrary()).symbols;
    const handle = new BigUint64Array(1);
    const status = this.#symbols.tb_tokenizer_trainer_create(
      this.#kind === "byte_level" ? 0 : 1,
      BigInt(this.#specialTokens.length),
      BigInt(options.vocabSize),
      BigInt(options.minFrequency ?? 2),
      BigInt(options.memoryLimit ?? DEFAULT_MEMORY_LIMIT),
      options.threads ?? 0,
      handle,
    );
    check(status, "make a tokenizer trainer");
    this.#handle = handle[0]!;
  }

  /** Bytes of text added so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Counts the words of a text: UTF-8, a document or a piece of one. The bytes are not kept. */
  add(text: Uint8Array): void {
    const handle = this.#open();
    if (this.#trained !== null) {
      throw new TypeError("Cannot add text as the vocabulary is trained: make another trainer");
    }
    const status = this.#symbols.tb_tokenizer_trainer_add(
      handle,
      text as Uint8Array<ArrayBuffer>,
      BigInt(text.length),
    );
    check(status, "count the words of a text");
    this.#bytes += text.length;
  }

  /**
   * Learns the vocabulary and gives the bytes of its tokenizer.json. It is smaller than `vocabSize` where the text has too
   * few pairs that occur `minFrequency` times. `onProgress` is told the tokens of the vocabulary so far, and in all.
   *
   * Throws {@linkcode TokenizerError} where no text was added.
   */
  train(onProgress: (tokens: number, total: number) => void = () => {}): Uint8Array {
    const handle = this.#open();
    if (this.#trained !== null) return this.#trained;
    if (this.#bytes === 0) {
      throw new TokenizerError(
        "Cannot train a tokenizer as it needs text: current value is 0 bytes; add some first",
      );
    }
    const progress = new BigInt64Array(4);
    do {
      const status = this.#symbols.tb_tokenizer_trainer_step(
        handle,
        BigInt(TOKENS_A_STEP),
        progress,
      );
      check(status, "train a tokenizer");
      const before = this.#specialTokens.length + 256 + Number(progress[3]);
      onProgress(before + Number(progress[0]), before + Number(progress[1]));
    } while (progress[0]! < progress[1]!);
    const merges = new Uint32Array(3 * Number(progress[2]));
    const alphabet = new Uint32Array(Number(progress[3]));
    const status = this.#symbols.tb_tokenizer_trainer_result(
      handle,
      merges,
      progress[2]!,
      alphabet,
      progress[3]!,
    );
    check(status, "read the trained vocabulary");
    const json = this.#toJson(merges, alphabet);
    this.#trained = new TextEncoder().encode(`${JSON.stringify(json, null, 1)}\n`);
    return this.#trained;
  }

  #toJson(merges: Uint32Array, alphabet: Uint32Array): unknown {
    const byteLevel = this.#kind === "byte_level";
    const names = [...this.#specialTokens];
    for (let byte = 0; byte < 256; byte++) {
      const hex = byte.toString(16).toUpperCase().padStart(2, "0");
      names.push(byteLevel ? BYTE_CHARACTERS[byte]! : `<0x${hex}>`);
    }
    for (const code of alphabet) names.push(code === 0x20 ? "▁" : String.fromCodePoint(code));
    const pairs: [string, string][] = [];
    for (let i = 0; i < merges.length; i += 3) {
      const left = names[merges[i]!]!, right = names[merges[i + 1]!]!;
      pairs.push([left, right]);
      names[merges[i + 2]!] = left + right;
    }
    return {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: this.#specialTokens.map((content, id) => ({
        id,
        content,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      })),
      ...(byteLevel ? BYTE_LEVEL_STAGES : SENTENCEPIECE_STAGES),
      model: {
        type: "BPE",
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: !byteLevel,
        byte_fallback: !byteLevel,
        ignore_merges: false,
        vocab: Object.fromEntries(names.map((name, id) => [name, id])),
        merges: pairs,
      },
    };
  }

  #open(): bigint {
    if (this.#handle === 0n) {
      throw new TypeError("Cannot use a tokenizer trainer that was disposed: make another");
    }
    return this.#handle;
  }

  [Symbol.dispose](): void {
    if (this.#handle !== 0n) this.#symbols.tb_tokenizer_trainer_destroy(this.#handle);
    this.#handle = 0n;
  }
}

const BYTE_LEVEL = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true };

const BYTE_LEVEL_STAGES = {
  normalizer: null,
  pre_tokenizer: { ...BYTE_LEVEL, use_regex: true },
  post_processor: null,
  decoder: { ...BYTE_LEVEL, use_regex: true },
};

// As Llama 2's tokenizer.json: the model's own merges are all that splits the text.
const SENTENCEPIECE_STAGES = {
  normalizer: {
    type: "Sequence",
    normalizers: [
      { type: "Prepend", prepend: "▁" },
      { type: "Replace", pattern: { String: " " }, content: "▁" },
    ],
  },
  pre_tokenizer: null,
  post_processor: null,
  decoder: {
    type: "Sequence",
    decoders: [
      { type: "Replace", pattern: { String: "▁" }, content: " " },
      { type: "ByteFallback" },
      { type: "Fuse" },
      { type: "Strip", content: " ", start: 1, stop: 0 },
    ],
  },
};

function checkOptions(
  options: TokenizerTrainerOptions,
  specialTokens: readonly string[],
  kind: "byte_level" | "sentencepiece",
): void {
  const least = specialTokens.length + 256 + (kind === "byte_level" ? 0 : 4);
  type Count = "vocabSize" | "minFrequency" | "memoryLimit" | "threads";
  const inRange = (name: Count, from: number, to: number) => {
    const value = options[name];
    if (value === undefined || (Number.isInteger(value) && value >= from && value <= to)) return;
    throw new RangeError(
      `Cannot train a tokenizer as ${name} must be an integer from ${from} to ${to}: current value is ${
        describeValue(value)
      }`,
    );
  };
  inRange("vocabSize", least, 2 ** 24);
  inRange("minFrequency", 1, 2 ** 31 - 1);
  inRange("memoryLimit", 2 ** 20, Number.MAX_SAFE_INTEGER);
  inRange("threads", 1, 1024);
  if (specialTokens.includes("") || new Set(specialTokens).size < specialTokens.length) {
    throw new RangeError(
      `Cannot train a tokenizer as specialTokens must be different and not empty: current value is ${
        describeValue(specialTokens)
      }`,
    );
  }
  const byte = specialTokens.find((token) =>
    kind === "byte_level" ? BYTE_CHARACTERS.includes(token) : /^<0x[0-9A-F]{2}>$|^.$/su.test(token)
  );
  if (byte !== undefined) {
    throw new RangeError(
      `Cannot train a tokenizer as specialTokens must not be names of bytes or characters: current value is "${byte}"`,
    );
  }
}

function check(status: number, what: string): void {
  if (status === 0) return;
  throw new TokenizerError(
    status === 3
      ? `Cannot ${what} as it needs more memory than there is: lower memoryLimit or give less text`
      : `Cannot ${what}: the native library answered with status ${status}; this is an error of TitanBit`,
  );
}
