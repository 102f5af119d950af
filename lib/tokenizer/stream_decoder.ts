/**
 * Decoding while a model generates.
 *
 * @module
 */

import type { Tokenizer } from "./tokenizer.ts";

/**
 * Turns ids into text one at a time: a character comes out when its last byte has come in.
 *
 * What it gives in all is the tokens' own text: the space that a SentencePiece vocabulary puts before a text stays, unless
 * `startOfText` says that the first token begins one.
 */
export class StreamDecoder {
  readonly #tokenizer: Tokenizer;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #first: boolean;

  constructor(tokenizer: Tokenizer, options: { startOfText?: boolean } = {}) {
    this.#tokenizer = tokenizer;
    this.#first = options.startOfText ?? false;
  }

  /** The characters that this id completes: often none, where a character's bytes are several tokens. */
  push(id: number): string {
    const bytes = this.#first ? this.#tokenizer.decodeBytes([id]) : this.#tokenizer.tokenBytes(id);
    this.#first = false;
    return this.#decoder.decode(bytes, { stream: true });
  }

  /** What is left at the end: U+FFFD for a character that was cut short, else nothing. */
  flush(): string {
    return this.#decoder.decode();
  }
}
