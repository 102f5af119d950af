/** Texts and a small tokenizer for the tests of this room. */
import { type NativeLibrary, openLibrary } from "../../lib/ffi/library.ts";
import { type Tokenizer, tokenizerFromJson } from "../../lib/tokenizer/tokenizer.ts";
import { findSourceFiles } from "../../lib/data/text/source_files.ts";
import { type Extracted, extractText, type InvalidUtf8 } from "../../lib/data/text/extract.ts";
import { workUnits } from "../../lib/data/text/work_units.ts";

/** The id that ends a document in {@linkcode smallTokenizer}. */
export const END = 0;

/** The CPU build. */
export function cpuLibrary(): NativeLibrary {
  return openLibrary({ device: "cpu" });
}

/** The character that byte-level vocabularies write a byte as: itself where it is visible, else one from U+0100 on. */
function byteCharacter(byte: number): string {
  const isVisible = (value: number) =>
    (value > 32 && value < 127) || (value > 160 && value !== 173);
  if (isVisible(byte)) return String.fromCharCode(byte);
  const before = Array.from({ length: byte }, (_, value) => value);
  return String.fromCharCode(256 + before.filter((value) => !isVisible(value)).length);
}

/** A byte-level tokenizer: 256 bytes, a few merges, `<|endoftext|>` as id 0. */
export function smallTokenizerJson(): Uint8Array {
  const vocab: Record<string, number> = { "<|endoftext|>": END };
  const add = (token: string) => vocab[token] = Object.keys(vocab).length;
  for (let byte = 0; byte < 256; byte++) add(byteCharacter(byte));
  const space = byteCharacter(32);
  const merges = [["t", "h"], ["th", "e"], [space, "the"], ["i", "n"], ["a", "n"], ["an", "d"]];
  for (const [left, right] of merges) add(`${left}${right}`);
  const added = {
    id: END,
    content: "<|endoftext|>",
    single_word: false,
    lstrip: false,
    rstrip: false,
  };
  return new TextEncoder().encode(JSON.stringify({
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [{ ...added, normalized: false, special: true }],
    normalizer: null,
    pre_tokenizer: {
      type: "ByteLevel",
      add_prefix_space: false,
      trim_offsets: true,
      use_regex: true,
    },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab,
      merges,
    },
  }));
}

/** Opens {@linkcode smallTokenizerJson}. */
export function smallTokenizer(): Promise<Tokenizer> {
  return tokenizerFromJson(smallTokenizerJson(), { library: cpuLibrary() });
}

/** Documents of an input as texts, and the problems met, in order. */
export async function readDocuments(
  input: string,
  options: {
    unitBytes?: number;
    textField?: string;
    invalidUtf8?: InvalidUtf8;
    maxLineBytes?: number;
  } = {},
): Promise<{ texts: string[]; problems: string[]; replaced: number; empty: number }> {
  const { textField = "text", invalidUtf8 = "replace", ...rest } = options;
  const { files } = await findSourceFiles(input);
  const units: Extracted[] = [];
  const cut = { newline: "ends", extraIds: 0, exact: true } as const;
  for await (const unit of workUnits(files, { cut, textField, ...rest })) {
    units.push(extractText(unit, { textField, invalidUtf8, cut }));
  }
  const texts: string[] = [];
  const problems: string[] = [];
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let open = "";
  for (const { parts, problems: bad } of units) {
    problems.push(...bad.map(({ place, message }) => `${place}: ${message}`));
    for (const { bytes, first, last, problem } of parts) {
      open = (first ? "" : open) + decoder.decode(bytes);
      if (problem !== null) problems.push(`${problem.place}: ${problem.message}`);
      else if (last) texts.push(open);
    }
  }
  const sum = (key: "replaced" | "empty") => units.reduce((total, unit) => total + unit[key], 0);
  return { texts, problems, replaced: sum("replaced"), empty: sum("empty") };
}
