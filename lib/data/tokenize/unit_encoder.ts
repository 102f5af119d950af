/**
 * Work units to token ids.
 *
 * @module
 */
import type { EncodedBatch, Tokenizer } from "../../tokenizer/tokenizer.ts";
import { type ExtractOptions, extractText, type Problem } from "../text/extract.ts";
import type { WorkUnit } from "../text/work_units.ts";
import type { TokenWidth } from "../token_format.ts";
import type { TokenArray } from "../token_writer.ts";

/** What units are encoded with; plain data, so that workers get it as it is. */
export interface EncodeOptions extends ExtractOptions {
  tokenWidth: TokenWidth;
  /** Ids before each document's own. */
  startIds: readonly number[];
  /** Id after each document. */
  endOfDocumentId: number;
}

/** Bits of {@linkcode EncodedUnit.flags}. */
export const PART = { first: 1, last: 2, bad: 4 } as const;

/** The ids of a unit. */
export interface EncodedUnit {
  /** Ids of all parts, one after the other, with the start ids before and the end-of-document id behind each document. */
  readonly tokens: TokenArray;
  /** End of each part within `tokens`. */
  readonly ends: Float64Array;
  /** {@linkcode PART} bits of each part. */
  readonly flags: Uint8Array;
  /** Why a part is bad, by its number. */
  readonly badParts: ReadonlyMap<number, Problem>;
  /** Records that gave no document. */
  readonly problems: readonly Problem[];
  readonly empty: number;
  readonly replaced: number;
  readonly textBytes: number;
}

const BATCH_BYTES = 4 << 20;

/** Encodes units with a tokenizer of its own. */
export class UnitEncoder {
  readonly #tokenizer: Tokenizer;
  readonly #options: EncodeOptions;

  constructor(tokenizer: Tokenizer, options: EncodeOptions) {
    this.#tokenizer = tokenizer;
    this.#options = options;
  }

  /** Encodes a unit; depends on nothing but the unit, so that the order of units and workers doesn't matter. */
  encode(unit: WorkUnit): EncodedUnit {
    const { cut, tokenWidth, startIds, endOfDocumentId } = this.#options;
    const { parts, problems, empty, replaced, textBytes } = extractText(unit, this.#options);
    // A text that spells out "<|endoftext|>" must not end a document.
    const texts = parts.map((part) => part.bytes);
    const { ids, ends } = this.#encodeTexts(texts);
    const capacity = ids.length + parts.length * (1 + startIds.length);
    const tokens = tokenWidth === 2 ? new Uint16Array(capacity) : new Uint32Array(capacity);
    const partEnds = new Float64Array(parts.length);
    const flags = new Uint8Array(parts.length);
    const badParts = new Map<number, Problem>();
    let length = 0;
    let start = 0;
    for (const [i, part] of parts.entries()) {
      const end = ends[i]!;
      if (part.problem !== null) badParts.set(i, part.problem);
      else {
        if (part.first) {
          tokens.set(startIds, length);
          length += startIds.length;
        }
        const from = Math.min(end, part.first ? start : start + cut.extraIds);
        tokens.set(ids.subarray(from, end), length);
        length += end - from;
        if (part.last) tokens[length++] = endOfDocumentId;
      }
      start = end;
      partEnds[i] = length;
      flags[i] = (part.first ? PART.first : 0) | (part.last ? PART.last : 0) |
        (part.problem === null ? 0 : PART.bad);
    }
    return {
      tokens: tokens.subarray(0, length),
      ends: partEnds,
      flags,
      badParts,
      problems,
      empty,
      replaced,
      textBytes,
    };
  }
  /** Encodes some megabytes at a time: meanwhile a tokenizer takes many times the memory of its text. */
  #encodeTexts(texts: readonly Uint8Array[]): EncodedBatch {
    const batches: EncodedBatch[] = [];
    for (let start = 0, end = 0; start < texts.length; start = end) {
      let bytes = 0;
      do bytes += texts[end++]!.length; while (
        end < texts.length && bytes + texts[end]!.length <= BATCH_BYTES
      );
      const batch = texts.slice(start, end);
      batches.push(this.#tokenizer.encodeBatch(batch, { specialsAsText: true }));
    }
    if (batches.length === 1) return batches[0]!;
    const ids = new Uint32Array(batches.reduce((sum, batch) => sum + batch.ids.length, 0));
    const ends = new Float64Array(texts.length);
    let length = 0;
    let count = 0;
    for (const batch of batches) {
      ids.set(batch.ids, length);
      for (const end of batch.ends) ends[count++] = length + end;
      length += batch.ids.length;
    }
    return { ids, ends };
  }
}
