/**
 * Text that spells out a special token, such as the end of a document, and is to be encoded as the text it is.
 *
 * @module
 */

import { bytesOfByteLevelToken } from "./byte_alphabet.ts";
import { type AddedTokenJson, mergePairOf, type TokenizerJson } from "./tokenizer_json.ts";
import { byteOfFallbackToken, spellingOf } from "./vocabulary.ts";

/** The parts of a tokenizer.json in which special tokens are named. */
export type Hidden = Pick<TokenizerJson, "added_tokens" | "model">;

/**
 * The file with special tokens under names that no text spells, each with the id it has: no text then becomes one, neither as an
 * added token nor by the model. What the model needs for spelling keeps its name: bytes, and the space.
 *
 * `specials`: names of the special tokens, those of `added_tokens` and any others that mark something.
 */
export function hideSpecials(json: TokenizerJson, specials: ReadonlySet<string>): Hidden {
  // A character that is none, and a number that no text knows.
  const nonce = crypto.randomUUID();
  const hidden = new Map<string, string>();
  for (const name of specials) {
    if (!isSpelling(name, json)) {
      hidden.set(name, `\u{10fffe}${nonce}.${hidden.size}\u{10fffe}`);
    }
  }
  return {
    added_tokens: json.added_tokens.map((token) => hideAdded(token, specials, hidden)),
    model: hideInModel(json, hidden),
  };
}

/** Whether a BPE model can make one of these tokens out of text: by a merge, as a whole word, or as a character. */
export function modelSpells(json: TokenizerJson, specials: ReadonlySet<string>): boolean {
  const named = new Set(
    [...specials].filter((name) => isInModel(name, json) && !isSpelling(name, json)),
  );
  if (named.size === 0) return false;
  if (json.model["ignore_merges"] || [...named].some((name) => [...name].length === 1)) return true;
  return mergesOf(json).some((merge) => named.has(resultOf(merge, json)));
}

function isInModel(name: string, { model }: TokenizerJson): boolean {
  const vocab = model["vocab"];
  return Array.isArray(vocab)
    ? vocab.some((entry) => Array.isArray(entry) && entry[0] === name)
    : Object.hasOwn(vocab as object, name);
}

/** Whether the model spells a byte or a space by this token: without it text would be lost. */
function isSpelling(name: string, json: TokenizerJson): boolean {
  const { type } = json.model;
  if ((type !== "BPE" && type !== "Unigram") || !isInModel(name, json)) return false;
  if (name === "▁") return true;
  if (json.model["byte_fallback"] === true && byteOfFallbackToken(name) >= 0) return true;
  return name.length === 1 && spellingOf(json) === "byte_level" &&
    bytesOfByteLevelToken(name) !== null;
}

function hideAdded(
  token: AddedTokenJson,
  specials: ReadonlySet<string>,
  hidden: ReadonlyMap<string, string>,
): AddedTokenJson {
  if (!specials.has(token.content)) return token;
  // One that spells a byte stays in the model, where text may use it; as an added token it goes.
  const content = hidden.get(token.content) ?? "";
  return { ...token, content, normalized: false, single_word: false, lstrip: false, rstrip: false };
}

function hideInModel(
  json: TokenizerJson,
  hidden: ReadonlyMap<string, string>,
): TokenizerJson["model"] {
  const { model } = json;
  const renamed = (name: string) => hidden.get(name) ?? name;
  const vocab = model["vocab"];
  return {
    ...model,
    vocab: Array.isArray(vocab)
      ? vocab.map((entry) => Array.isArray(entry) ? [renamed(entry[0]), ...entry.slice(1)] : entry)
      : Object.fromEntries(
        Object.entries(vocab as object).map(([name, id]) => [renamed(name), id]),
      ),
    ...(typeof model["unk_token"] === "string" && { unk_token: renamed(model["unk_token"]) }),
    ...("merges" in model && {
      merges: mergesOf(json).filter((merge) => {
        const pair = mergePairOf(merge);
        return pair === null || ![...pair, resultOf(merge, json)].some((name) => hidden.has(name));
      }),
    }),
  };
}

function mergesOf({ model }: TokenizerJson): readonly unknown[] {
  return Array.isArray(model["merges"]) ? model["merges"] : [];
}

/** The token that a merge makes; a prefix within words, such as ##, stands once. */
function resultOf(merge: unknown, { model }: TokenizerJson): string {
  const [left, right] = mergePairOf(merge) ?? ["", ""];
  const prefix = model["continuing_subword_prefix"];
  return left + right.slice(typeof prefix === "string" ? prefix.length : 0);
}
