/**
 * How much text a token stands for.
 *
 * @module
 */

import type { Tokenizer } from "../tokenizer/tokenizer.ts";

const UNKNOWN = -1;

/** Bytes of UTF-8 that each token of a text stands for; special tokens, such as the end of a document, stand for none. */
export class TokenBytes {
  /** Marks the end of a document; null where the tokenizer has no such token. */
  readonly endId: number | null;
  readonly #tokenizer: Tokenizer;
  readonly #startIds: readonly number[];
  readonly #inside: Int32Array; // (V)
  readonly #first: Int32Array; // (V)

  /** `startIds`: before each document's own, @default none */
  constructor(tokenizer: Tokenizer, startIds: readonly number[] = []) {
    this.endId = tokenizer.eosId;
    this.#startIds = startIds;
    this.#tokenizer = tokenizer;
    this.#inside = new Int32Array(tokenizer.vocabSize).fill(UNKNOWN);
    this.#first = new Int32Array(tokenizer.vocabSize).fill(UNKNOWN);
  }

  /**
   * Bytes of token `id` behind token `previous`. As the first token of a document it has one less where the vocabulary puts a
   * space before a text that the text does not have.
   *
   * Throws `RangeError` for an id beyond the vocabulary.
   */
  of(id: number, previous: number): number {
    const begins = previous === (this.#startIds.at(-1) ?? this.endId);
    const known = begins ? this.#first : this.#inside;
    const bytes = known[id] ?? UNKNOWN;
    if (bytes !== UNKNOWN) return bytes;
    const { specialIds } = this.#tokenizer;
    const found = specialIds.has(id) || id === this.endId || this.#startIds.includes(id)
      ? 0
      : begins
      ? this.#tokenizer.decodeBytes([id]).length
      : this.#tokenizer.tokenBytes(id).length;
    known[id] = found;
    return found;
  }
}
