/**
 * What a tokenizer puts before a text by its own rule: `<s>` in Llama's files, nothing in GPT-2's.
 *
 * @module
 */

import { dirname, join } from "@std/path";
import * as z from "zod";
import { describeValue } from "../std/describe.ts";
import { type JsonFile, parseJson, readFileUpTo, wrongKey } from "../std/json.ts";
import { TokenizerError } from "./errors.ts";
import { isId, isObject, tokenizerFile } from "./tokenizer_json.ts";

/** Tokens that may stand before a text: what a token file's header has room for. */
export const MOST_START_IDS = 8;

/** Ids with those that begin a text in front, unless they stand there: a prompt may spell `<s>` itself. */
export function withStart(
  ids: Uint32Array | readonly number[],
  startIds: readonly number[],
): Uint32Array | number[] {
  return startIds.every((id, i) => ids[i] === id) ? Uint32Array.from(ids) : [...startIds, ...ids];
}

/**
 * The ids that the `post_processor` of a tokenizer.json puts before a text.
 *
 * Throws {@linkcode TokenizerError} where it is of no kind that `tokenizers` knows, or puts too many there or one that is none.
 */
export function startIdsOf(
  postProcessor: unknown,
  { vocabSize, file }: { vocabSize: number; file: string },
): readonly number[] {
  const ids = read(postProcessor ?? null, "post_processor", file);
  if (ids.length <= MOST_START_IDS && ids.every((id) => isId(id) && id < vocabSize)) return ids;
  throw wrong({
    file,
    key: "post_processor",
    rule: `put at most ${MOST_START_IDS} ids below the vocabulary's ${vocabSize} before a text`,
    value: ids,
  });
}

function read(stage: unknown, key: string, file: string): number[] {
  if (stage === null) return [];
  const fail = (rule: string, value: unknown, at = key) => wrong({ file, key: at, rule, value });
  if (!isObject(stage)) throw fail("be null or an object with a type", stage);
  const { type } = stage;
  if (type === "ByteLevel") return [];
  if (type === "BertProcessing" || type === "RobertaProcessing") {
    const { cls } = stage;
    if (!Array.isArray(cls) || !isId(cls[1])) {
      throw fail("be a token and its id", cls, `${key}.cls`);
    }
    return [cls[1]];
  }
  if (type === "Sequence") {
    const { processors } = stage;
    if (!Array.isArray(processors)) throw fail("be an array", processors, `${key}.processors`);
    const ids = processors.map((inner, i) => read(inner, `${key}.processors[${i}]`, file));
    // The package takes what one of them made of a text for a pair of texts.
    const adding = processors.filter((inner) => inner.type !== "ByteLevel").length;
    if (adding > 1) throw fail("hold one that adds tokens at most", adding, `${key}.processors`);
    return ids.flat();
  }
  if (type !== "TemplateProcessing") {
    const known = "ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing or Sequence";
    throw fail(`be ${known}`, type, `${key}.type`);
  }
  const { single, special_tokens: tokens } = stage;
  if (!Array.isArray(single)) throw fail("be an array", single, `${key}.single`);
  const ids: number[] = [];
  for (const [i, piece] of single.entries()) {
    if (isObject(piece) && isObject(piece["Sequence"])) return ids;
    const name = isObject(piece) && isObject(piece["SpecialToken"]) && piece["SpecialToken"]["id"];
    const token = isObject(tokens) && typeof name === "string" ? tokens[name] : null;
    if (!isObject(token) || !Array.isArray(token["ids"]) || !token["ids"].every(isId)) {
      throw fail(`be a Sequence or a token of ${key}.special_tokens`, piece, `${key}.single[${i}]`);
    }
    ids.push(...token["ids"]);
  }
  throw fail("hold a Sequence, the text itself", single, `${key}.single`);
}

function wrong(
  { file, key, rule, value }: { file: string; key: string; rule: string; value: unknown },
): TokenizerError {
  return new TokenizerError(
    `Cannot read ${file} as ${key} must ${rule}: current value is ${
      describeValue(value)
    }; repair the file or give another`,
    { file, key },
  );
}

/** Bytes of a tokenizer_config.json at most. */
const MAX_CONFIG_BYTES = 64 * 2 ** 20;

const configSchema = z.object({
  add_bos_token: z.unknown().optional(),
  bos_token: z.unknown().optional(),
}, { error: "a JSON object" });

/**
 * The token that the tokenizer_config.json beside a tokenizer.json wants before a text: its `bos_token` where `add_bos_token` is
 * true, null for none where that is false, `undefined` where nothing is said or there is no such file.
 *
 * Throws {@linkcode TokenizerError} where the file is no JSON object, or names no `bos_token` to add.
 */
export function startTokenBeside(path: string): string | null | undefined {
  const file = configFile(join(dirname(path), "tokenizer_config.json"), path);
  let bytes: Uint8Array;
  try {
    bytes = readFileUpTo(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  return parseStartToken(bytes, file);
}

/** As {@linkcode startTokenBeside}, from bytes that are already in memory. */
export function parseStartToken(
  bytes: Uint8Array,
  file: JsonFile = configFile("tokenizer_config.json", "tokenizer.json"),
): string | null | undefined {
  const { add_bos_token: adds, bos_token: named } = parseJson(bytes, configSchema, file);
  if (adds === false) return null;
  if (adds !== true) return undefined;
  const token = isObject(named) ? named["content"] : named;
  if (typeof token === "string") return token;
  throw wrongKey(file, {
    key: "bos_token",
    rule: "a token as add_bos_token is true",
    found: named,
  });
}

function configFile(path: string, tokenizer: string): JsonFile {
  const remedy = `repair it, or remove it to go by post_processor of ${tokenizer}`;
  return tokenizerFile(path, remedy, MAX_CONFIG_BYTES);
}
