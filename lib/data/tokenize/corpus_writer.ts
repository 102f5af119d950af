/**
 * Token files of a corpus: training and validation, in one file each or in shards.
 *
 * @module
 */
import { exists } from "@std/fs";
import { basename, dirname, join } from "@std/path";
import { DataError } from "../errors.ts";
import { hashToUnit } from "../hash.ts";
import { type TokenArray, TokenFileWriter, type TokenFileWriterOptions } from "../token_writer.ts";
import { requireWritable } from "../writable_file.ts";

/** Which files a corpus goes to. */
export interface CorpusFiles {
  /** The training file; validation goes to `<name>.val.tokens` beside it. */
  output: string;
  /** Share of the documents that are held out for validation, from 0 to below 1. */
  valFraction: number;
  /** Tokens after which a new training file begins, at the next document; `null` for one file. */
  shardTokens: number | null;
}

/** Where a corpus goes. */
export interface CorpusWriterOptions extends CorpusFiles, TokenFileWriterOptions {
  /** Chooses the documents that are held out. */
  seed: number;
}

/** A file that was written. */
export interface WrittenFile {
  readonly path: string;
  readonly split: "train" | "validation";
  readonly tokens: number;
  readonly documents: number;
}

const TOKENS = ".tokens";

/** `data/a.tokens` is held out in `data/a.val.tokens`. */
export function validationPath(output: string): string {
  return `${withoutEnding(output)}.val${TOKENS}`;
}

/** Files that writing a corpus replaces where they are there. */
export function replacedFiles({ output, valFraction, shardTokens }: CorpusFiles): string[] {
  const training = shardTokens === null ? [output] : [];
  return valFraction > 0 ? [...training, validationPath(output)] : training;
}

/** Makes sure that a corpus can be written before any work is done; throws {@linkcode DataError} where not. */
export async function prepareOutput(options: CorpusFiles): Promise<void> {
  const { output, valFraction, shardTokens } = options;
  const folder = dirname(output);
  if (!output.endsWith(TOKENS)) {
    throw new DataError(
      `Cannot write ${output} as a token file's name ends in ${TOKENS}: current name is ${
        JSON.stringify(basename(output))
      }`,
      { path: output },
    );
  }
  await requireWritable(output);
  const held = validationPath(output);
  if (valFraction === 0 && await exists(held)) {
    throw staleHeldOut(output, "no --val-fraction is given");
  }
  if (shardTokens === null) return;
  const stem = basename(withoutEnding(output));
  for await (const { name } of Deno.readDir(folder)) {
    const rest = name.startsWith(`${stem}_`) ? name.slice(stem.length + 1) : "";
    if (/^\d{5}\.tokens$/.test(rest)) {
      throw new DataError(
        `Cannot write the shards of ${output} as ${
          join(folder, name)
        } of an earlier run is there ` +
          "and would be read with them. Remove the old shards or choose another name",
        { path: output },
      );
    }
  }
}

function staleHeldOut(output: string, why: string): DataError {
  const held = validationPath(output);
  return new DataError(
    `Cannot write ${output} as ${held} of an earlier run is there and what it holds may now be trained on: ${why}. ` +
      `Remove ${held}, hold documents out anew with --val-fraction, or choose another name`,
    { path: held },
  );
}

/** Takes documents in order and writes them; nothing appears under its name before {@linkcode commit}. */
export class CorpusWriter {
  readonly #options: CorpusWriterOptions;
  readonly #training: TokenFileWriter[] = [];
  #validation: TokenFileWriter | null = null;
  #documents = 0;
  /** Where the current document goes, and where it began there. */
  #writer: TokenFileWriter | null = null;
  #mark = 0;
  /** Ids that are still to be written to the current writer. */
  #pending: { tokens: TokenArray; start: number; end: number } | null = null;

  constructor(options: CorpusWriterOptions) {
    this.#options = options;
  }

  /** Documents taken so far. */
  get documentCount(): number {
    return this.#documents;
  }

  /** Begins a document. Its number alone, among those that were kept, decides where it goes. */
  begin(): void {
    const { valFraction, seed } = this.#options;
    const held = valFraction > 0 && hashToUnit([seed, this.#documents]) < valFraction;
    const writer = held ? this.#validationWriter() : this.#trainingWriter();
    if (writer !== this.#writer) this.#flush();
    this.#writer = writer;
    const { start, end } = this.#pending ?? { start: 0, end: 0 };
    this.#mark = writer.tokenCount + end - start;
  }

  /** Appends tokens[start … end) to the document. */
  write(tokens: TokenArray, range: { start: number; end: number }): void {
    const { start, end } = range;
    // Neighbouring documents of one file are written at once.
    if (this.#pending?.tokens === tokens && this.#pending.end === start) {
      this.#pending.end = end;
      return;
    }
    this.#flush();
    this.#pending = { tokens, start, end };
  }

  /** Ends the document and keeps it. */
  end(): void {
    this.#writer!.endDocuments(1);
    this.#documents++;
  }

  /** Drops the document. */
  abandon(): void {
    this.#flush();
    this.#writer!.rollBack(this.#mark);
  }

  /**
   * Finishes all files, then gives each its name.
   *
   * @throws {DataError} Where every document was held out, or none while an old held-out file is there.
   */
  async commit(): Promise<WrittenFile[]> {
    this.#flush();
    // A file whose only document was abandoned stays empty and is none.
    const training = this.#training.filter(({ documentCount }) => documentCount > 0);
    const held = [this.#validation].filter((writer) => writer !== null)
      .filter(({ documentCount }) => documentCount > 0);
    await this.#checkSplit({ training: training.length > 0, held: held.length > 0 });
    const files = [
      ...training.map((writer) => ({ writer, split: "train" as const })),
      ...held.map((writer) => ({ writer, split: "validation" as const })),
    ];
    for (const { writer } of files) writer.close();
    for (const { writer } of files) writer.commit();
    return files.map(({ writer, split }) => ({
      path: writer.path,
      split,
      tokens: writer.tokenCount,
      documents: writer.documentCount,
    }));
  }

  /** Removes what was written, unless it was committed. */
  [Symbol.dispose](): void {
    for (const writer of this.#training) writer[Symbol.dispose]();
    this.#validation?.[Symbol.dispose]();
  }

  async #checkSplit(found: { training: boolean; held: boolean }): Promise<void> {
    const { output, valFraction } = this.#options;
    if (!found.training) throw allHeldOut(output, { valFraction, documents: this.#documents });
    if (!found.held && valFraction > 0 && await exists(validationPath(output))) {
      throw staleHeldOut(output, `none of the documents fell to --val-fraction ${valFraction}`);
    }
  }

  #flush(): void {
    if (this.#pending === null) return;
    const { tokens, start, end } = this.#pending;
    this.#pending = null;
    this.#writer!.write(tokens.subarray(start, end));
  }

  #validationWriter(): TokenFileWriter {
    const { output } = this.#options;
    return this.#validation ??= new TokenFileWriter(validationPath(output), this.#options);
  }

  #trainingWriter(): TokenFileWriter {
    const { output, shardTokens } = this.#options;
    const current = this.#training.at(-1);
    if (current !== undefined && shardTokens === null) return current;
    if (current !== undefined) {
      this.#flush();
      if (current.tokenCount < shardTokens!) return current;
      current.close();
    }
    const number = String(this.#training.length).padStart(5, "0");
    const path = shardTokens === null ? output : `${withoutEnding(output)}_${number}${TOKENS}`;
    const writer = new TokenFileWriter(path, this.#options);
    this.#training.push(writer);
    return writer;
  }
}

function allHeldOut(
  output: string,
  { valFraction, documents }: { valFraction: number; documents: number },
): DataError {
  const [what, remedy] = documents === 1
    ? ["the only document", "Leave that out, or give more documents"]
    : [`all ${documents} documents`, "Take a smaller one, another --seed, or more documents"];
  return new DataError(
    `Cannot write ${output} as there must be something to train on: ${what} would be held out at --val-fraction ` +
      `${valFraction}. ${remedy}: ` +
      "a .txt or .md file is one, give several of them or a .jsonl file with a document a line",
    { path: output },
  );
}

function withoutEnding(path: string): string {
  return path.endsWith(TOKENS) ? path.slice(0, -TOKENS.length) : path;
}
