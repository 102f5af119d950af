/**
 * The tokens of a tokenizer.json: names, ids and the bytes each one stands for.
 *
 * @module
 */

import { isUtf8 } from "node:buffer";
import { describeValue } from "../std/describe.ts";
import { bytesOfByteLevelToken } from "./byte_alphabet.ts";
import { TokenizerError } from "./errors.ts";
import {
  type AddedTokenJson,
  flatten,
  isId,
  isObject,
  mergePairOf,
  type TokenizerJson,
} from "./tokenizer_json.ts";

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
  /** Ids of added tokens that stand for their own letters, though a byte-level decoder would take these for bytes. */
  readonly literalIds: ReadonlySet<number>;
}

/**
 * Collects `model.vocab` (an object of ids, or Unigram's array of pairs) and `added_tokens`.
 *
 * The package `tokenizers` passes over the ids of added tokens that the model lacks and numbers them by their order: a file
 * whose ids differ from that would have tokens of other ids there, or two of one.
 *
 * Throws {@linkcode TokenizerError} where an id is no id, is two tokens', or is another than that package gives, and where the
 * vocabulary is missing or empty.
 */
export function readVocabulary(json: TokenizerJson, file: string): Vocabulary {
  const vocab = json.model["vocab"];
  const ids = new Map<string, number>();
  if (Array.isArray(vocab)) {
    vocab.forEach((entry, id) => ids.set(nameOfPair(entry, id, file), id));
  } else if (isObject(vocab)) {
    for (const [token, id] of Object.entries(vocab)) {
      if (!isId(id)) {
        throw new TokenizerError(
          `Cannot read ${file} as model.vocab[${
            describeValue(token)
          }] must be an id, an integer from 0 on: current value is ` +
            `${describeValue(id)}; repair the file or give another`,
          { file, key: `model.vocab[${describeValue(token)}]` },
        );
      }
      ids.set(token, id);
    }
  } else {
    throw new TokenizerError(
      `Cannot read ${file} as model.vocab must hold tokens and ids: current value is ${
        describeValue(vocab)
      }; give another file`,
      { file, key: "model.vocab" },
    );
  }
  const modelIds = [...ids.values()];
  const specialIds = addTokens(json, ids, file);
  let size = 0;
  for (const id of ids.values()) size = Math.max(size, id + 1);
  if (size === 0) {
    throw new TokenizerError(
      `Cannot read ${file} as model.vocab must hold tokens: current value is ${
        describeValue(vocab)
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
  const literalIds = findLiterals(json, { ids, inModel });
  return { size, ids, inModel, names, specialIds, literalIds };
}

/** The name in an entry of Unigram's vocabulary. */
function nameOfPair(entry: unknown, id: number, file: string): string {
  if (Array.isArray(entry) && typeof entry[0] === "string") return entry[0];
  const key = `model.vocab[${id}]`;
  throw new TokenizerError(
    `Cannot read ${file} as ${key} must be a token and its score: current value is ${
      describeValue(entry)
    }; repair the file or give another`,
    { file, key },
  );
}

/** Puts `added_tokens` into `ids`, which holds the model's; gives the ids of the special ones. */
function addTokens(json: TokenizerJson, ids: Map<string, number>, file: string): Set<number> {
  const owners = new Map<number, string>();
  for (const [token, id] of ids) {
    const other = owners.get(id);
    owners.set(id, token);
    if (other === undefined) continue;
    throw new TokenizerError(
      `Cannot read ${file} as an id must stand for one token: model.vocab gives ${id} to ` +
        `${describeValue(other)} and ${describeValue(token)}; renumber one of them`,
      { file, key: `model.vocab[${describeValue(token)}]` },
    );
  }
  const vocab = json.model["vocab"];
  let next = Array.isArray(vocab) ? vocab.length : ids.size;
  const specialIds = new Set<number>();
  json.added_tokens.forEach((token, i) => {
    if (token.content === "") return;
    const known = ids.get(token.content);
    if (known === undefined) requireOwnId(token, { next, owner: owners.get(token.id), i, file });
    const id = known ?? token.id;
    ids.set(token.content, id);
    owners.set(id, token.content);
    next = Math.max(next, id + 1);
    if (token.special) specialIds.add(id);
  });
  return specialIds;
}

/** Throws where an added token that the model lacks has another id than the package would give it. */
function requireOwnId(
  { id, content }: AddedTokenJson,
  place: { next: number; owner: string | undefined; i: number; file: string },
): void {
  const { next, owner, i, file } = place;
  if (id === next && owner === undefined) return;
  const remedy = `number ${describeValue(content)} ${next}, or name it in model.vocab as well`;
  throw new TokenizerError(
    owner !== undefined
      ? `Cannot read ${file} as an id must stand for one token: added_tokens[${i}] gives ${id} to ` +
        `${describeValue(content)}, and ${describeValue(owner)} has it; ${
          id === next
            ? `name ${describeValue(content)} in model.vocab, under an id of its own`
            : remedy
        }`
      : `Cannot read ${file} as added tokens that model.vocab lacks must have the ids after its tokens, one after the ` +
        `other: added_tokens[${i}] gives ${id} to ${
          describeValue(content)
        } where ${next} comes next; ${remedy}`,
    { file, key: `added_tokens[${i}].id` },
  );
}

/**
 * Finds the added tokens that a byte-level decoder would misread. One that the model names is only its own letters where these
 * are no text as bytes, and no merge makes it.
 */
function findLiterals(
  json: TokenizerJson,
  { ids, inModel }: { ids: ReadonlyMap<string, number>; inModel: Uint8Array },
): Set<number> {
  const literals = new Set<number>();
  if (spellingOf(json) !== "byte_level") return literals;
  const doubtful = new Set<string>();
  for (const { content } of json.added_tokens) {
    const bytes = bytesOfByteLevelToken(content);
    // deno-lint-ignore no-control-regex -- ASCII spells itself in that alphabet
    if (bytes === null || /^[\x00-\x7f]*$/.test(content)) continue;
    const id = ids.get(content)!;
    if (inModel[id] !== 1) literals.add(id);
    else if (bytes.length > 1 && !isUtf8(bytes)) doubtful.add(content);
  }
  if (doubtful.size === 0) return literals;
  const { merges } = json.model;
  for (const merge of Array.isArray(merges) ? merges : []) {
    const pair = mergePairOf(merge);
    if (pair !== null) doubtful.delete(pair[0] + pair[1]);
  }
  for (const content of doubtful) literals.add(ids.get(content)!);
  return literals;
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

/** The bytes that the token of an id stands for in the middle of a text; none where no token has the id. */
export function bytesOfId(vocabulary: Vocabulary, id: number, spelling: Spelling): Uint8Array {
  const name = vocabulary.names[id];
  if (name === undefined) return new Uint8Array(0);
  return vocabulary.literalIds.has(id) ? encoder.encode(name) : bytesOfToken(name, spelling);
}

/** The bytes that a token's name spells. */
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
