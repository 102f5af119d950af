/**
 * Reads Hugging Face's `tokenizer.json` and decides whether the native engine speaks its dialect.
 *
 * @module
 */

import * as z from "zod";
import { describeValue } from "../std/describe.ts";
import { type JsonFile, parseJson } from "../std/json.ts";
import { TokenizerError } from "./errors.ts";

/** One entry of `added_tokens`. */
export interface AddedTokenJson {
  readonly id: number;
  readonly content: string;
  readonly single_word?: boolean;
  readonly lstrip?: boolean;
  readonly rstrip?: boolean;
  readonly normalized?: boolean;
  readonly special?: boolean;
}

/** A normalizer, pre-tokenizer or decoder: a type and its options. */
export interface StageJson {
  readonly type: string;
  readonly [option: string]: unknown;
}

/** The parts of tokenizer.json that are read here. */
export interface TokenizerJson {
  readonly added_tokens: readonly AddedTokenJson[];
  readonly normalizer: StageJson | null;
  readonly pre_tokenizer: StageJson | null;
  readonly post_processor: unknown;
  readonly decoder: StageJson | null;
  readonly model: StageJson;
}

/** How the native engine runs a tokenizer; the numbers are those of `cuda/host/tokenizer_model.h`. */
export interface NativePlan {
  readonly algorithm: "byte_level" | "sentencepiece";
  /** The split into words: see {@linkcode SPLIT_PATTERNS}. */
  readonly split: "none" | "gpt2" | "cl100k" | "cl100k_one_digit" | "o200k";
  readonly ignoreMerges: boolean;
  /** When a space is put before a text. */
  readonly prefix: "none" | "always" | "unless_space" | "first_unless_space";
  readonly splitBeforeSpace: boolean;
  /** The normalizer (not the pre-tokenizer) makes spaces and prefix, so that normalized added tokens see them. */
  readonly normalizes: boolean;
  readonly byteFallbackDecode: boolean;
  /** What decoding a text takes off its beginning. */
  readonly strip: "none" | "one_space";
}

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const SPACES = "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** The patterns, as published files spell them, that the native splitters implement. */
export const SPLIT_PATTERNS: Readonly<Record<string, NativePlan["split"]>> = {
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+": "gpt2",
  "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+": "gpt2",
  [`${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${SPACES}`]:
    "cl100k",
  [`${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${SPACES}`]:
    "cl100k_one_digit",
  [
    `[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+${CONTRACTIONS}?|` +
    `[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*${CONTRACTIONS}?|` +
    `\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${SPACES}`
  ]: "o200k",
};

/** Bytes of a tokenizer.json at most; the largest published ones have some 40 million. */
const MAX_BYTES = 256 * 2 ** 20;

const STAGE = { error: "null or an object with a type" };
const STAGES = { error: "a list of stages" };
const flag = () => z.boolean({ error: "true or false" }).exactOptional();
const ID = "an id below 2^31";

const stageSchema: z.ZodType<StageJson> = z.lazy(() =>
  z.looseObject({
    type: z.string({ error: "a name" }),
    normalizers: z.array(stageSchema, STAGES).optional(),
    pretokenizers: z.array(stageSchema, STAGES).optional(),
    decoders: z.array(stageSchema, STAGES).optional(),
  }, STAGE)
);

const addedTokenSchema: z.ZodType<AddedTokenJson> = z.looseObject({
  id: z.int({ error: ID }).min(0, { error: ID }).lt(2 ** 31, { error: ID }),
  content: z.string({ error: "a text" }),
  single_word: flag(),
  lstrip: flag(),
  rstrip: flag(),
  normalized: flag(),
  special: flag(),
}, { error: "an object with a content and an id below 2^31" });

/** Vocabulary and merges are looked at where they are read: a schema would copy them. */
const tokenizerSchema = z.looseObject({
  model: z.looseObject({}, { error: "an object" }),
  added_tokens: z.array(addedTokenSchema, { error: "an array" }).nullish(),
  normalizer: stageSchema.nullish(),
  pre_tokenizer: stageSchema.nullish(),
  decoder: stageSchema.nullish(),
}, { error: "an object" });

/** A file of a tokenizer, whose faults are {@linkcode TokenizerError}s. */
export function tokenizerFile(
  path: string,
  remedy: string,
  maxBytes: number = MAX_BYTES,
): JsonFile {
  return {
    path,
    maxBytes,
    remedy,
    fail: (message, { key, cause }) =>
      new TokenizerError(message, { file: path, ...(key !== "" && { key }), cause }),
  };
}

/**
 * Parses the bytes of a tokenizer.json.
 *
 * Throws {@linkcode TokenizerError} where they are no JSON or lack what every tokenizer.json has; `file` is for the message.
 */
export function parseTokenizerJson(bytes: Uint8Array, file: string): TokenizerJson {
  const remedy = "give a Hugging Face tokenizer.json";
  const json = parseJson(bytes, tokenizerSchema, tokenizerFile(file, remedy));
  const { type } = json.model;
  return {
    added_tokens: json.added_tokens ?? [],
    normalizer: json.normalizer ?? null,
    pre_tokenizer: json.pre_tokenizer ?? null,
    post_processor: json["post_processor"],
    decoder: json.decoder ?? null,
    // Old files leave the model's type out; what has merges is BPE.
    model: {
      ...json.model,
      type: typeof type === "string" ? type : "merges" in json.model ? "BPE" : "unknown",
    },
  };
}

/** The plan for the native engine, or the reason why it does not speak this dialect. */
export function planNative(json: TokenizerJson): NativePlan | { unsupported: string } {
  const { model } = json;
  if (model.type !== "BPE") return { unsupported: `model.type is ${model.type}` };
  for (const option of ["dropout", "continuing_subword_prefix", "end_of_word_suffix"]) {
    if (model[option]) return { unsupported: `model.${option} is ${describeValue(model[option])}` };
  }
  if (json.added_tokens.some((token) => token.single_word)) {
    return { unsupported: "an added token is single_word" };
  }
  const normalizer = flatten(json.normalizer, "normalizers");
  const preTokenizer = flatten(json.pre_tokenizer, "pretokenizers");
  const decoder = flatten(json.decoder, "decoders");
  return preTokenizer.at(-1)?.type === "ByteLevel"
    ? planByteLevel(model, normalizer, preTokenizer, decoder)
    : planSentencePiece(model, normalizer, preTokenizer, decoder);
}

function planByteLevel(
  model: StageJson,
  normalizer: readonly StageJson[],
  preTokenizer: readonly StageJson[],
  decoder: readonly StageJson[],
): NativePlan | { unsupported: string } {
  if (normalizer.length > 0) return { unsupported: `normalizer is ${normalizer[0]!.type}` };
  if (model["byte_fallback"]) return { unsupported: "model.byte_fallback on a byte-level model" };
  if (decoder.length > 1 || (decoder.length === 1 && decoder[0]!.type !== "ByteLevel")) {
    return { unsupported: `decoder is ${decoder.map((stage) => stage.type).join(", ")}` };
  }
  const byteLevel = preTokenizer.at(-1)!;
  const usesRegex = byteLevel["use_regex"] !== false;
  const spaced = byteLevel["add_prefix_space"] === true;
  let split: NativePlan["split"] = usesRegex ? "gpt2" : "none";
  if (preTokenizer.length > 1) {
    const stage = preTokenizer[0]!;
    const known = preTokenizer.length === 2 && stage.type === "Split" ? splitOf(stage) : null;
    if (known === null) {
      return { unsupported: `pre_tokenizer holds another ${stage.type}` };
    }
    if (usesRegex || spaced) return { unsupported: "pre_tokenizer splits twice" };
    split = known;
  }
  return {
    algorithm: "byte_level",
    split,
    ignoreMerges: model["ignore_merges"] === true,
    prefix: spaced ? "unless_space" : "none",
    splitBeforeSpace: false,
    normalizes: false,
    byteFallbackDecode: false,
    strip: "none",
  };
}

function splitOf(stage: StageJson): NativePlan["split"] | null {
  const pattern = stage["pattern"];
  if (!isObject(pattern) || typeof pattern["Regex"] !== "string") return null;
  // These patterns match everywhere, so keeping the matches apart and removing what lies between are the same.
  const isolated = stage["behavior"] === "Isolated" && stage["invert"] !== true;
  const inverted = stage["behavior"] === "Removed" && stage["invert"] === true;
  return isolated || inverted ? SPLIT_PATTERNS[pattern["Regex"]] ?? null : null;
}

function planSentencePiece(
  model: StageJson,
  normalizer: readonly StageJson[],
  preTokenizer: readonly StageJson[],
  decoder: readonly StageJson[],
): NativePlan | { unsupported: string } {
  if (model["byte_fallback"] !== true) return { unsupported: "model.byte_fallback is off" };
  if (model["ignore_merges"]) return { unsupported: "model.ignore_merges without a split" };
  const decoding = planDecoder(decoder);
  if (decoding === null) {
    return { unsupported: `decoder is ${decoder.map((stage) => stage.type).join(", ") || "null"}` };
  }
  const base = {
    algorithm: "sentencepiece",
    split: "none",
    ignoreMerges: false,
    byteFallbackDecode: true,
  } as const;
  const types = normalizer.map((stage) => stage.type).join(",");
  if (types === "Prepend,Replace" || types === "Replace") {
    const replace = normalizer.at(-1)!;
    const prepends = normalizer.length === 2;
    if (!isReplace(replace, " ", "▁") || (prepends && normalizer[0]!["prepend"] !== "▁")) {
      return { unsupported: "normalizer replaces something else than spaces by ▁" };
    }
    if (preTokenizer.length > 0 && !isSplitOnSpace(preTokenizer)) {
      return { unsupported: `pre_tokenizer is ${preTokenizer[0]!.type}` };
    }
    const prefix = prepends ? "always" : "none";
    return { ...base, ...decoding, prefix, splitBeforeSpace: false, normalizes: true };
  }
  const metaspace = preTokenizer[0];
  if (normalizer.length > 0 || preTokenizer.length !== 1 || metaspace?.type !== "Metaspace") {
    const first = normalizer[0]?.type ?? metaspace?.type ?? "null";
    return { unsupported: `normalizer or pre_tokenizer is ${first}` };
  }
  if (metaspace["replacement"] !== "▁" || metaspace["str_rep"] === false) {
    return { unsupported: "pre_tokenizer.replacement is not ▁" };
  }
  const scheme = metaspace["prepend_scheme"] ??
    (metaspace["add_prefix_space"] === false ? "never" : "always");
  const prefix = scheme === "always"
    ? "unless_space"
    : scheme === "first"
    ? "first_unless_space"
    : scheme === "never"
    ? "none"
    : null;
  if (prefix === null) {
    return { unsupported: `pre_tokenizer.prepend_scheme is ${describeValue(scheme)}` };
  }
  const splitBeforeSpace = metaspace["split"] !== false;
  return { ...base, ...decoding, prefix, splitBeforeSpace, normalizes: false };
}

function planDecoder(
  decoder: readonly StageJson[],
): { strip: NativePlan["strip"] } | null {
  const types = decoder.map((stage) => stage.type).join(",");
  const last = decoder.at(-1);
  if (!types.startsWith("Replace,ByteFallback,Fuse") || !isReplace(decoder[0]!, "▁", " ")) {
    return null;
  }
  if (decoder.length === 3) return { strip: "none" };
  const strips = decoder.length === 4 && last?.type === "Strip" && last["content"] === " " &&
    last["start"] === 1 && last["stop"] === 0;
  return strips ? { strip: "one_space" } : null;
}

function isReplace(stage: StageJson, from: string, to: string): boolean {
  const pattern = stage["pattern"];
  return stage.type === "Replace" && isObject(pattern) && pattern["String"] === from &&
    stage["content"] === to;
}

/** Gemma's: nothing is left to split on once the normalizer has replaced the spaces. */
function isSplitOnSpace(preTokenizer: readonly StageJson[]): boolean {
  const stage = preTokenizer[0]!;
  const pattern = stage["pattern"];
  return preTokenizer.length === 1 && stage.type === "Split" && isObject(pattern) &&
    pattern["String"] === " " && stage["behavior"] === "MergedWithPrevious" &&
    stage["invert"] !== true;
}

/** The stages of a Sequence, or the stage alone. */
export function flatten(stage: StageJson | null, key: string): StageJson[] {
  if (stage === null) return [];
  if (stage.type !== "Sequence") return [stage];
  const stages = stage[key];
  return Array.isArray(stages) ? stages.flatMap((inner) => flatten(inner, key)) : [];
}

/** The two tokens of an entry of `model.merges`, an array or a text with one space; null where it is neither. */
export function mergePairOf(merge: unknown): readonly [string, string] | null {
  const pair: unknown = typeof merge === "string" ? merge.split(" ") : merge;
  if (!Array.isArray(pair) || pair.length !== 2) return null;
  return pair.every((part) => typeof part === "string") ? pair as [string, string] : null;
}

/** Whether a value is a JSON object. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Whether a value can be a token's id. */
export function isId(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 31;
}
