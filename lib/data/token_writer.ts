/**
 * Writes a TitanBit token file as a stream.
 *
 * @module
 */
import { AtomicFile } from "./atomic_file.ts";
import { encodeHeader, HEADER_BYTES, type TokenWidth } from "./token_format.ts";

/** What is known of a token file before its first token. */
export interface TokenFileWriterOptions {
  /** Ids are below it. */
  vocabSize: number;
  /** Bytes of a token; must hold every id of the vocabulary. */
  tokenWidth: TokenWidth;
  /** Id after each document. @default {null} */
  endOfDocumentId?: number | null;
  /** Ids before each document's own. @default none */
  startIds?: readonly number[];
  /** SHA-256 of the tokenizer.json, in hex. @default {null} */
  tokenizerHash?: string | null;
}

/** Token ids of a writer's width, or wider. */
export type TokenArray = Uint16Array | Uint32Array;

const BUFFER_BYTES = 1 << 20;

/**
 * A token file under construction: `using writer = new TokenFileWriter(...)`, {@linkcode write} as often as needed,
 * {@linkcode commit}. The header is written last and the name appears with everything in place.
 */
export class TokenFileWriter {
  readonly #file: AtomicFile;
  readonly #options: TokenFileWriterOptions;
  readonly #buffer: TokenArray;
  #buffered = 0;
  #flushed = 0;
  #documents = 0;
  #closed = false;

  /** Opens the temporary file beside `path`. */
  constructor(path: string, options: TokenFileWriterOptions) {
    const { vocabSize, tokenWidth } = options;
    if (!(vocabSize >= 1 && vocabSize <= 2 ** (8 * tokenWidth) && vocabSize <= 2 ** 31 - 1)) {
      throw new RangeError(
        `Cannot write ${path} with ${tokenWidth} bytes a token as they must hold every id: ` +
          `current vocabulary size is ${vocabSize}`,
      );
    }
    this.#options = options;
    const length = BUFFER_BYTES / tokenWidth;
    this.#buffer = tokenWidth === 2 ? new Uint16Array(length) : new Uint32Array(length);
    this.#file = new AtomicFile(path);
    try {
      this.#file.write(new Uint8Array(HEADER_BYTES));
    } catch (error) {
      this.#file[Symbol.dispose](); // nobody else can: there is no writer
      throw error;
    }
  }

  /** Where the file will be. */
  get path(): string {
    return this.#file.path;
  }

  /** Tokens written so far. */
  get tokenCount(): number {
    return this.#flushed + this.#buffered;
  }

  /** Documents ended so far. */
  get documentCount(): number {
    return this.#documents;
  }

  /**
   * Appends ids.
   *
   * @throws {RangeError} On an id outside the vocabulary; nothing of `ids` is then kept.
   */
  write(ids: TokenArray): void {
    let largest = 0;
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i]!;
      if (id > largest) largest = id;
    }
    if (ids.length > 0 && largest >= this.#options.vocabSize) {
      throw new RangeError(
        `Cannot write token id ${largest} to ${this.path} as ids are below the vocabulary size ` +
          `${this.#options.vocabSize}`,
      );
    }
    for (let done = 0; done < ids.length;) {
      if (this.#buffered === this.#buffer.length) this.#flush();
      const count = Math.min(ids.length - done, this.#buffer.length - this.#buffered);
      this.#buffer.set(ids.subarray(done, done + count), this.#buffered);
      this.#buffered += count;
      done += count;
    }
  }

  /** Counts documents whose last token has been written. */
  endDocuments(count: number): void {
    this.#documents += count;
  }

  /** Takes back every token after the first `tokenCount`, such as those of a document that turned out unusable. */
  rollBack(tokenCount: number): void {
    if (tokenCount >= this.#flushed) {
      this.#buffered = tokenCount - this.#flushed;
      return;
    }
    this.#file.truncate(HEADER_BYTES + tokenCount * this.#options.tokenWidth);
    this.#flushed = tokenCount;
    this.#buffered = 0;
  }

  /** Writes the header and brings everything to the disk; {@linkcode commit} then only renames. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#flush();
    const { tokenWidth, vocabSize, endOfDocumentId, startIds, tokenizerHash } = this.#options;
    const header = encodeHeader({
      tokenWidth,
      vocabSize,
      tokenCount: this.#flushed,
      documentCount: this.#documents,
      endOfDocumentId: endOfDocumentId ?? null,
      startIds: startIds ?? [],
      tokenizerHash: tokenizerHash ?? null,
    });
    this.#file.writeAt(header, 0);
    this.#file.close();
  }

  /** Puts the finished file in its place. */
  commit(): void {
    this.close();
    this.#file.commit();
  }

  /** Removes what was written, unless it was committed. */
  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }

  #flush(): void {
    const { buffer, byteOffset, BYTES_PER_ELEMENT } = this.#buffer;
    this.#file.write(new Uint8Array(buffer, byteOffset, this.#buffered * BYTES_PER_ELEMENT));
    this.#flushed += this.#buffered;
    this.#buffered = 0;
  }
}
