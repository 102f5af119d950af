/**
 * Files of a few tokens, one of each kind that treats added tokens differently.
 */

import { BYTE_CHARACTERS } from "../../lib/tokenizer/byte_alphabet.ts";
import type { Json } from "./vocabularies.ts";

/** Kinds of {@linkcode smallJson}: byte-level ones, then SentencePiece-style ones by what makes their spaces. */
export const SMALL_KINDS = [
  ...["byte_level", "byte_level_prefix", "byte_level_unsplit"],
  ...["normalizer", "replace", "always", "first", "never"],
] as const;

const NOTHING = { version: "1.0", truncation: null, padding: null, post_processor: null };
const BPE = {
  ...{ type: "BPE", dropout: null, unk_token: null, fuse_unk: false, ignore_merges: false },
  ...{ continuing_subword_prefix: null, end_of_word_suffix: null, byte_fallback: false },
};

/** A BPE file of bytes, a, b, c and a few merges of them; added tokens get the ids that follow, or those that they have. */
export function smallJson(kind: string, added: readonly Json[] = []): Json {
  const json = kind.startsWith("byte_level") ? byteLevel(kind) : sentencePiece(kind);
  const { vocab } = json.model;
  let next = Object.keys(vocab).length;
  json.added_tokens = added.map((token) => ({ ...token, id: vocab[token.content] ?? next++ }));
  return json;
}

function byteLevel(kind: string): Json {
  const names = [...BYTE_CHARACTERS, "aa", "Ġa", "ab"];
  const stage = {
    ...{ type: "ByteLevel", add_prefix_space: kind === "byte_level_prefix", trim_offsets: true },
    use_regex: kind !== "byte_level_unsplit",
  };
  const merges = [["a", "a"], ["Ġ", "a"], ["a", "b"]];
  return {
    ...NOTHING,
    ...{ added_tokens: [], normalizer: null, pre_tokenizer: stage, decoder: stage },
    model: { ...BPE, vocab: numbered(names), merges },
  };
}

function sentencePiece(kind: string): Json {
  const bytes = BYTE_CHARACTERS.map((_, byte) =>
    `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`
  );
  const names = ["<unk>", ...bytes, ..."▁abc<>\n", "aa", "▁a", "ab", "▁▁"];
  const replace = { type: "Replace", pattern: { String: " " }, content: "▁" };
  const prepend = { type: "Prepend", prepend: "▁" };
  const metaspace = { type: "Metaspace", replacement: "▁", prepend_scheme: kind, split: true };
  const merges = [["a", "a"], ["▁", "a"], ["a", "b"], ["▁", "▁"]];
  return {
    ...{ ...NOTHING, added_tokens: [] },
    normalizer: kind === "normalizer"
      ? { type: "Sequence", normalizers: [prepend, replace] }
      : kind === "replace"
      ? replace
      : null,
    pre_tokenizer: kind === "normalizer" || kind === "replace" ? null : metaspace,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: {
      ...BPE,
      unk_token: "<unk>",
      fuse_unk: true,
      byte_fallback: true,
      vocab: numbered(names),
      merges,
    },
  };
}

/** Tokens and their places as ids. */
export function numbered(names: readonly string[]): Record<string, number> {
  return Object.fromEntries(names.map((name, id) => [name, id]));
}
