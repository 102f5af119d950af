/**
 * Writes a tokenizer as the bytes that `tb_tokenizer_create` reads (cuda/host/tokenizer_model.cpp, TokenizerSpec::parse):
 * sixteen u32 of header, then tokens' types, offsets and bytes, merges as triples of ids, added tokens. Little-endian.
 *
 * @module
 */

import { describeValue } from "../std/describe.ts";
import { bytesOfByteLevelToken } from "./byte_alphabet.ts";
import { TokenizerError } from "./errors.ts";
import { mergePairOf, type NativePlan, type TokenizerJson } from "./tokenizer_json.ts";
import { byteOfFallbackToken, bytesOfId, bytesOfToken, type Vocabulary } from "./vocabulary.ts";

const MAGIC = 0x314b4254; // "TBK1"
const HEADER_WORDS = 16;
const SPLITS = ["none", "gpt2", "cl100k", "cl100k_one_digit", "o200k"] as const;
const PREFIXES = ["none", "always", "unless_space", "first_unless_space"] as const;
const TYPE = { normal: 0, byte: 1, added: 2, unreachable: 3, unused: 4 } as const;

const encoder = new TextEncoder();

/** What {@linkcode writeNativeSpec} needs of a file. */
export interface SpecSource {
  readonly json: TokenizerJson;
  readonly plan: NativePlan;
  readonly vocabulary: Vocabulary;
  /** Names of the tokens that are hidden where special ones are read as text. */
  readonly specials: ReadonlySet<string>;
  /** Name of the file, for messages. */
  readonly file: string;
}

/**
 * Writes the specification, or says why the native engine cannot run this vocabulary (a merge of byte tokens, say).
 *
 * Throws {@linkcode TokenizerError} where a merge names a token that the vocabulary lacks.
 */
export function writeNativeSpec(source: SpecSource): Uint8Array | { unsupported: string } {
  const { json, plan, vocabulary, specials } = source;
  const tokens = layTokens(source);
  const merges = layMerges(source);
  for (let i = 0; i < merges.length; i++) {
    const type = tokens.types[merges[i]!]!;
    if (type !== TYPE.normal && plan.algorithm === "sentencepiece") {
      return {
        unsupported: `a merge of ${describeValue(vocabulary.names[merges[i]!])}, which is no text`,
      };
    }
  }
  const changed = changedToken(source, merges);
  if (changed !== null) return { unsupported: changed };
  const missing = missingByte(plan, tokens.types, vocabulary);
  if (missing !== null) return { unsupported: missing };
  const added = json.added_tokens.filter((token) => token.content !== "");
  const contents = added.map((token) => encoder.encode(token.content));
  const contentBytes = contents.reduce((sum, content) => sum + content.length, 0);
  const size = vocabulary.size;
  const total = 4 * HEADER_WORDS + pad(size) + 4 * (size + 1) + pad(tokens.bytes.length) +
    4 * merges.length + 12 * added.length + contentBytes;

  const spec = new Uint8Array(total);
  const header = new Uint32Array(spec.buffer, 0, HEADER_WORDS);
  header.set([
    MAGIC,
    plan.algorithm === "byte_level" ? 0 : 1,
    SPLITS.indexOf(plan.split),
    Number(plan.ignoreMerges),
    PREFIXES.indexOf(plan.prefix),
    Number(plan.splitBeforeSpace),
    Number(plan.strip === "one_space"),
    Number(plan.byteFallbackDecode),
    size,
    merges.length / 3,
    added.length,
    tokens.bytes.length,
    contentBytes,
    Number(plan.normalizes),
  ]);
  let at = 4 * HEADER_WORDS;
  spec.set(tokens.types, at);
  at += pad(size);
  new Uint32Array(spec.buffer, at, size + 1).set(tokens.offsets);
  at += 4 * (size + 1);
  spec.set(tokens.bytes, at);
  at += pad(tokens.bytes.length);
  new Uint32Array(spec.buffer, at, merges.length).set(merges);
  at += 4 * merges.length;
  const entries = new Uint32Array(spec.buffer, at, 3 * added.length);
  at += 12 * added.length;
  added.forEach((token, i) => {
    const flags = Number(token.normalized ?? !token.special) | Number(token.lstrip ?? false) << 1 |
      Number(token.rstrip ?? false) << 2 | Number(specials.has(token.content)) << 3;
    entries.set([vocabulary.ids.get(token.content)!, flags, contents[i]!.length], 3 * i);
    spec.set(contents[i]!, at);
    at += contents[i]!.length;
  });
  return spec;
}

function pad(bytes: number): number {
  return (bytes + 3) & ~3;
}

interface Tokens {
  types: Uint8Array;
  offsets: Uint32Array;
  bytes: Uint8Array;
}

function layTokens({ plan, vocabulary, json }: SpecSource): Tokens {
  const types = new Uint8Array(vocabulary.size);
  const offsets = new Uint32Array(vocabulary.size + 1);
  let bytes = new Uint8Array(8 * vocabulary.size + 1024);
  let end = 0;
  // The decoder sees normalized added tokens as the normalizer leaves them.
  const decoded = new Map(
    normalizedContents(json, plan).map((
      [content, normal],
    ) => [vocabulary.ids.get(content)!, normal]),
  );
  for (let id = 0; id < vocabulary.size; id++) {
    const name = vocabulary.names[id];
    types[id] = name === undefined
      ? TYPE.unused
      : vocabulary.inModel[id] === 1
      ? typeInModel(name, plan)
      : TYPE.added;
    if (name !== undefined) {
      const normal = decoded.get(id);
      const token = normal !== undefined
        ? bytesOfToken(normal, plan.algorithm)
        : bytesOfId(vocabulary, id, plan.algorithm);
      if (end + token.length > bytes.length) {
        const larger = new Uint8Array(2 * (end + token.length));
        larger.set(bytes.subarray(0, end));
        bytes = larger;
      }
      bytes.set(token, end);
      end += token.length;
    }
    offsets[id + 1] = end;
  }
  return { types, offsets, bytes: bytes.subarray(0, end) };
}

/** Normalized added tokens and what the normalizer makes of them. */
function normalizedContents(json: TokenizerJson, plan: NativePlan): [string, string][] {
  if (!plan.normalizes) return [];
  const prefix = plan.prefix === "always" ? "▁" : "";
  return json.added_tokens.filter(({ normalized, content }) => normalized && content !== "")
    .map(({ content }) => [content, prefix + content.replaceAll(" ", "▁")]);
}

/** A token has one spelling natively: one that the model makes and that decodes as something else is the package's. */
function changedToken({ json, plan, vocabulary }: SpecSource, merges: Uint32Array): string | null {
  const changed = new Map<number, string>();
  for (const [content, normal] of normalizedContents(json, plan)) {
    const id = vocabulary.ids.get(content)!;
    if (normal !== content && vocabulary.inModel[id] === 1) changed.set(id, content);
  }
  const made = [...changed].find(([id, content]) => {
    if ([...content].length === 1) return true;
    for (let i = 2; i < merges.length; i += 3) if (merges[i] === id) return true;
    return false;
  });
  return made === undefined
    ? null
    : `${describeValue(made[1])} is a normalized added token and the model's`;
}

function typeInModel(name: string, plan: NativePlan): number {
  if (plan.algorithm === "byte_level") {
    return bytesOfByteLevelToken(name) === null ? TYPE.unreachable : TYPE.normal;
  }
  if (byteOfFallbackToken(name) >= 0) return TYPE.byte;
  // Spaces reach the model as U+2581, so a token with a real one is never the result of an encoding.
  return name.includes(" ") ? TYPE.unreachable : TYPE.normal;
}

function layMerges({ json, vocabulary, file }: SpecSource): Uint32Array {
  const merges = json.model["merges"] ?? [];
  if (!Array.isArray(merges)) throw wrongMerge(file, "model.merges", merges);
  const { ids, inModel } = vocabulary;
  const triples = new Uint32Array(3 * merges.length);
  for (let i = 0; i < merges.length; i++) {
    const merge: unknown = merges[i];
    const pair = mergePairOf(merge);
    if (pair === null) throw wrongMerge(file, `model.merges[${i}]`, merge);
    const left = ids.get(pair[0]) ?? -1;
    const right = ids.get(pair[1]) ?? -1;
    const result = ids.get(pair[0] + pair[1]) ?? -1;
    if (inModel[left] !== 1 || inModel[right] !== 1 || inModel[result] !== 1) {
      throw wrongMerge(file, `model.merges[${i}]`, merge);
    }
    triples[3 * i] = left;
    triples[3 * i + 1] = right;
    triples[3 * i + 2] = result;
  }
  return triples;
}

function wrongMerge(file: string, key: string, value: unknown): TokenizerError {
  return new TokenizerError(
    `Cannot read ${file} as ${key} must be pairs of tokens that model.vocab holds, joined as well: ` +
      `current value is ${describeValue(value)}; repair the file or give another`,
    { file, key },
  );
}

/** Both algorithms fall back on single bytes; a vocabulary without all of them has unknown tokens. */
function missingByte(plan: NativePlan, types: Uint8Array, vocabulary: Vocabulary): string | null {
  const seen = new Set<number>();
  vocabulary.names.forEach((name, id) => {
    if (name === undefined) return;
    if (plan.algorithm === "sentencepiece") {
      if (types[id] === TYPE.byte) seen.add(byteOfFallbackToken(name));
    } else if (name.length === 1 && types[id] === TYPE.normal) {
      seen.add(bytesOfByteLevelToken(name)![0]!);
    }
  });
  if (plan.algorithm === "sentencepiece" && !vocabulary.ids.has("▁")) return "no token for ▁ alone";
  for (let byte = 0; byte < 256; byte++) {
    if (!seen.has(byte)) return `no token for the byte 0x${byte.toString(16).padStart(2, "0")}`;
  }
  return null;
}
