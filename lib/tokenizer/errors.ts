/** A tokenizer file or its use is wrong; the message names the file and the key. */
export class TokenizerError extends Error {
  /** The file, where the tokenizer came from one. */
  readonly file: string | null;
  /** Path of the key in tokenizer.json, such as `model.merges[7]`. */
  readonly key: string | null;

  constructor(message: string, options: { file?: string; key?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "TokenizerError";
    this.file = options.file ?? null;
    this.key = options.key ?? null;
  }
}
