/**
 * The tokens of a tokenizer.json: names, ids and the bytes each one stands for.
 *
 * @module
 */

import { bytesOfByteLevelToken } from "./byte_alphabet.ts";
import { TokenizerError } from "./errors.ts";
import { flatten, isId, isObject, show, type TokenizerJson } from "./tokenizer_json.ts";

const encoder = new TextEncoder();

/** A vocabulary by name and id, added tokens included. */
export interface Vocabulary {
  /** Ids are 0 to size - 1; some may be unused. */
  readonly size: number;
  readonly ids: ReadonlyMap<string, number>;
  /** 1 for the ids that `model.vocab` names. */
  readonly inModel: Uint8Array;
  /** Names by id; `undefined` where an id is unused. */
  readonly names: readonly (string | undefined)[];
  /** Ids of the tokens that `added_tokens` calls special. */
  readonly specialIds: ReadonlySet<number>;
}

/**
 * Collects `model.vocab` (an object of ids, or Unigram's array of pairs) and `added_tokens`.
 *
 * Throws {@linkcode TokenizerError} where an id is no id or the vocabulary is missing or empty.
 */
export function readVocabulary(json: TokenizerJson, file: string): Vocabulary {
  const vocab = json.model["vocab"];
  const ids = new Map<string, number>();
  if (Array.isArray(vocab)) {
    vocab.forEach((entry, id) => ids.set(String(Array.isArray(entry) ? entry[0] : entry), id));
  } else if (isObject(vocab)) {
    for (const [token, id] of Object.entries(vocab)) {
      if (!isId(id)) {
        throw new TokenizerError(
          `Cannot read ${file} as model.vocab[${
            show(token)
          }] must be an id, an integer from 0 on: current value is ` +
            `${show(id)}; repair the file or give another`,
          { file, key: `model.vocab[${show(token)}]` },
        );
      }
      ids.set(token, id);
    }
  } else {
    throw new TokenizerError(
      `Cannot read ${file} as model.vocab must hold tokens and ids: current value is ${
        show(vocab)
      }; give another file`,
      { file, key: "model.vocab" },
    );
  }
  const modelIds = [...ids.values()];
  const specialIds = new Set<number>();
  for (const token of json.added_tokens) {
    const id = ids.get(token.content) ?? token.id;
    ids.set(token.content, id);
    if (token.special) specialIds.add(id);
  }
  let size = 0;
  for (const id of ids.values()) size = Math.max(size, id + 1);
  if (size === 0) {
    throw new TokenizerError(
      `Cannot read ${file} as model.vocab must hold tokens: current value is ${
        show(vocab)
      }; give another file`,
      { file, key: "model.vocab" },
    );
  }
  if (size > 16 * ids.size + 65536) {
    throw new TokenizerError(
      `Cannot read ${file} as its largest id must be near its ${ids.size} tokens: current value is ${
        size - 1
      }; ` +
        "repair the ids or give another file",
      { file, key: "model.vocab" },
    );
  }
  const names = new Array<string | undefined>(size).fill(undefined);
  for (const [name, id] of ids) names[id] = name;
  const inModel = new Uint8Array(size);
  for (const id of modelIds) inModel[id] = 1;
  return { size, ids, inModel, names, specialIds };
}

/** How names turn into bytes, by the file's decoder (and pre-tokenizer, where it has none). */
export type Spelling = "byte_level" | "sentencepiece" | "word_piece" | "plain";

/** The spelling that the decoder of a file implies. */
export function spellingOf(json: TokenizerJson): Spelling {
  const decoder = flatten(json.decoder, "decoders");
  const stages = decoder.length > 0 ? decoder : flatten(json.pre_tokenizer, "pretokenizers");
  const types = new Set(stages.map((stage) => stage.type));
  if (types.has("ByteLevel")) return "byte_level";
  if (types.has("Metaspace") || types.has("ByteFallback")) return "sentencepiece";
  return types.has("WordPiece") ? "word_piece" : "plain";
}

/** The byte of a byte-fallback token such as `<0x0A>`, or -1. */
export function byteOfFallbackToken(name: string): number {
  return /^<0x[0-9A-Fa-f]{2}>$/.test(name) ? Number.parseInt(name.slice(3, 5), 16) : -1;
}

/** The bytes that a token stands for in the middle of a text. */
export function bytesOfToken(name: string, spelling: Spelling): Uint8Array {
  if (spelling === "byte_level") return bytesOfByteLevelToken(name) ?? encoder.encode(name);
  if (spelling === "sentencepiece") {
    const byte = byteOfFallbackToken(name);
    return byte >= 0 ? Uint8Array.of(byte) : encoder.encode(name.replaceAll("▁", " "));
  }
  if (spelling === "word_piece") {
    return encoder.encode(name.startsWith("##") ? name.slice(2) : ` ${name}`);
  }
  return encoder.encode(name);
}
