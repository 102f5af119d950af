/**
 * Text to token ids and back, by any Hugging Face `tokenizer.json`.
 *
 * BPE vocabularies with the GPT-2, Llama 3 (cl100k), Qwen 2 and o200k splits, and SentencePiece-style ones with byte
 * fallback, run in the native library; every other file runs on the npm package `tokenizers`, some 15 to 50 times slower.
 *
 * @module
 */

import { type NativeLibrary, openLibrary } from "../ffi/library.ts";
import { withoutMark } from "../std/text_file.ts";
import { TokenizerError } from "./errors.ts";
import { describeValue } from "../std/describe.ts";
import { readFileUpTo } from "../std/json.ts";
import { hideSpecials, modelSpells } from "./hide_specials.ts";
import { writeNativeSpec } from "./native_spec.ts";
import { NativeTokenizer } from "./native_tokenizer.ts";
import { PackageTokenizer } from "./package_tokenizer.ts";
import { startIdsOf, startTokenBeside } from "./start_of_text.ts";
import { parseTokenizerJson, planNative, tokenizerFile } from "./tokenizer_json.ts";
import { readVocabulary } from "./vocabulary.ts";

/** Ids of several documents, end to end. */
export interface EncodedBatch {
  readonly ids: Uint32Array;
  /** For each document, where its ids (and its end id) end in `ids`. */
  readonly ends: Float64Array;
}

/** Options of {@linkcode Tokenizer.encodeBatch}. */
export interface EncodeBatchOptions {
  /** Written after each document. */
  readonly endId?: number;
  /** Reads the names of special tokens as plain text: no text gives the id of one. Default: false. */
  readonly specialsAsText?: boolean;
}

/** A loaded tokenizer. For one thread at a time; a worker loads its own. */
export interface Tokenizer {
  readonly engine: "native" | "tokenizers";
  /** Why the native engine does not run this file, or null where it does. */
  readonly engineReason: string | null;
  /** Ids are 0 to vocabSize - 1; added tokens are counted. */
  readonly vocabSize: number;
  readonly bosId: number | null;
  /** Marks the end of a document. */
  readonly eosId: number | null;
  /**
   * What the file's own rule puts before a text, document or prompt: its post_processor, or add_bos_token of the
   * tokenizer_config.json beside it. Encoding leaves that to the caller.
   */
  readonly startIds: readonly number[];
  /** SHA-256 of {@linkcode json}, in hex. */
  readonly hash: string;
  /** The bytes of tokenizer.json, without a byte order mark in front, so that a checkpoint can keep a copy. */
  readonly json: Uint8Array;
  /** Ids that stand for no text. */
  readonly specialIds: ReadonlySet<number>;

  /**
   * Encodes one document; adds no special tokens, but recognises their names in the text as `tokenizers` does. Bytes must
   * be valid UTF-8; lone surrogates of a string become U+FFFD.
   */
  encode(text: string | Uint8Array): Uint32Array;

  /** Encodes many documents at once: the fast path for whole corpora. */
  encodeBatch(documents: readonly Uint8Array[], options?: EncodeBatchOptions): EncodedBatch;

  /**
   * The text of ids, special tokens by their names. Bytes that are no UTF-8 become U+FFFD.
   *
   * Throws `RangeError` for an id beyond the vocabulary; so do the two below.
   */
  decode(ids: Uint32Array | readonly number[]): string;

  /** As {@linkcode decode}, but the tokens' bytes as they are, even where they are no UTF-8 (native engine). */
  decodeBytes(ids: Uint32Array | readonly number[]): Uint8Array;

  /** The bytes that one token stands for inside a text. */
  tokenBytes(id: number): Uint8Array;

  /** A token's name in tokenizer.json, such as `Ġthe`; null where no token has the id. */
  tokenName(id: number): string | null;

  /** The id of a token by its name in tokenizer.json. */
  idOf(token: string): number | null;

  [Symbol.dispose](): void;
}

/** Options of {@linkcode loadTokenizer}. */
export interface LoadTokenizerOptions {
  /** The native library; opened where not given. */
  readonly library?: NativeLibrary;
  /** Name of the token that begins a document, where it is none of the usual ones. */
  readonly bosToken?: string;
  /** Name of the token that ends a document, where it is none of the usual ones. */
  readonly eosToken?: string;
  /** Name of the token that begins every text, null for none. Default: by the file's own rule. */
  readonly startToken?: string | null;
  /** `tokenizers` forces the npm package, for comparisons. Default: native wherever it speaks the file's dialect. */
  readonly engine?: "tokenizers";
}

// In order of preference: Llama 3 and Qwen have several of them.
const EOS_NAMES = [
  "<|endoftext|>",
  "<|end_of_text|>",
  "</s>",
  "<eos>",
  "<|eos|>",
  "<|EOS|>",
  "<｜end▁of▁sentence｜>",
  "[EOS]",
  "[SEP]",
];
const BOS_NAMES = [
  "<|begin_of_text|>",
  "<s>",
  "<bos>",
  "<|bos|>",
  "<|BOS|>",
  "<|startoftext|>",
  "<｜begin▁of▁sentence｜>",
  "[BOS]",
  "[CLS]",
];

/**
 * Loads a tokenizer.json.
 *
 * ```ts
 * using tokenizer = await loadTokenizer("tokenizer.json");
 * const ids = tokenizer.encode("Four score and seven years ago");
 * ```
 *
 * Throws {@linkcode TokenizerError} where the file is missing, is no tokenizer.json, or needs the package `tokenizers`
 * and that cannot be loaded.
 */
export async function loadTokenizer(
  path: string,
  options: LoadTokenizerOptions = {},
): Promise<Tokenizer> {
  let json: Uint8Array;
  try {
    json = readFileUpTo(tokenizerFile(path, "give the path of a tokenizer.json"));
  } catch (error) {
    if (error instanceof TokenizerError) throw error;
    const reason = error instanceof Deno.errors.NotFound
      ? "there is no such file"
      : error instanceof Error
      ? error.message
      : String(error);
    throw new TokenizerError(
      `Cannot read the tokenizer ${path} as it must be a readable file: ${reason}; give the path of a tokenizer.json`,
      { file: path, cause: error },
    );
  }
  const beside = "startToken" in options ? undefined : startTokenBeside(path);
  return await create(json, path, {
    ...options,
    ...(beside !== undefined && { startToken: beside }),
  });
}

/** Loads a tokenizer from the bytes of a tokenizer.json, as {@linkcode loadTokenizer} does from the file alone. */
export function tokenizerFromJson(
  json: Uint8Array,
  options: LoadTokenizerOptions & { readonly name?: string } = {},
): Promise<Tokenizer> {
  return create(json, options.name ?? "tokenizer.json", options);
}

async function create(
  stored: Uint8Array,
  file: string,
  options: LoadTokenizerOptions,
): Promise<Tokenizer> {
  const bytes = withoutMark(stored); // other programs refuse one in the copies that checkpoints keep
  const json = parseTokenizerJson(bytes, file);
  const vocabulary = readVocabulary(json, file);
  const named = (name: string | undefined, usual: readonly string[], key: string) => {
    if (name === undefined) {
      return usual.map((token) => vocabulary.ids.get(token)).find((id) => id !== undefined) ?? null;
    }
    const id = vocabulary.ids.get(name);
    if (id !== undefined) return id;
    throw new TokenizerError(
      `Cannot use ${file} as ${key} must be a token of it: current value is ${
        describeValue(name)
      }; give a token's exact name`,
      { file, key },
    );
  };
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(bytes)));
  const { startToken } = options;
  const common = {
    vocabulary,
    json: bytes,
    hash: hash.toHex(),
    bosId: named(options.bosToken, BOS_NAMES, "bosToken"),
    eosId: named(options.eosToken, EOS_NAMES, "eosToken"),
    startIds: startToken === undefined
      ? startIdsOf(json.post_processor, { vocabSize: vocabulary.size, file })
      : startToken === null
      ? []
      : [named(startToken, [], "startToken")!],
    file,
  };
  // Marks of a document's borders are special, whatever the file calls them.
  const { bosId, eosId, startIds } = common;
  const marks = [bosId, eosId, ...startIds].filter((id) => id !== null);
  const specials = new Set(
    [...vocabulary.specialIds, ...marks].flatMap((id) => vocabulary.names[id] ?? []),
  );
  let reason = 'the option engine is "tokenizers"';
  if (options.engine !== "tokenizers") {
    const plan = planNative(json);
    const source = { json, vocabulary, specials, file };
    const spec = "unsupported" in plan ? plan : writeNativeSpec({ ...source, plan });
    if (spec instanceof Uint8Array) {
      return new NativeTokenizer({
        ...common,
        library: options.library ?? openLibrary(),
        spec,
        plainSpec: modelSpells(json, specials) ? () => plainSpec(bytes, { specials, file }) : null,
      });
    }
    reason = spec.unsupported;
  }
  return await PackageTokenizer.load({ ...common, parsed: json, specials, reason });
}

/** The specification by which no text becomes a special token; read anew, as it is made at most once. */
function plainSpec(
  bytes: Uint8Array,
  { specials, file }: { specials: ReadonlySet<string>; file: string },
): Uint8Array {
  const parsed = parseTokenizerJson(bytes, file);
  const json = { ...parsed, ...hideSpecials(parsed, specials) };
  const plan = planNative(json);
  if (!("unsupported" in plan)) {
    const vocabulary = readVocabulary(json, file);
    const spec = writeNativeSpec({ json, plan, vocabulary, specials, file });
    if (spec instanceof Uint8Array) return spec;
  }
  throw new Error(`${file} without its special tokens is none that the native engine runs`);
}
