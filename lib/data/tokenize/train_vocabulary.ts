/**
 * A tokenizer out of the corpus itself.
 *
 * @module
 */
import type { NativeLibrary } from "../../ffi/library.ts";
import { TokenizerTrainer } from "../../tokenizer/train.ts";
import { DataError } from "../errors.ts";
import { extractText, type InvalidUtf8 } from "../text/extract.ts";
import type { SourceListing } from "../text/source_files.ts";
import { workUnits } from "../text/work_units.ts";
import { throwFatal } from "./problem_log.ts";

/** Options of {@linkcode trainVocabulary}. */
export interface TrainVocabularyOptions {
  source: SourceListing;
  /** Tokens of the vocabulary, special ones included. */
  vocabSize: number;
  /** @default {"byte_level"} */
  kind?: "byte_level" | "sentencepiece";
  library: NativeLibrary;
  textField: string;
  invalidUtf8: InvalidUtf8;
  signal?: AbortSignal;
  /** Told the bytes read from disk so far. */
  onRead?: (bytes: number) => void;
  /** Told the tokens of the vocabulary so far, and in all. */
  onMerge?: (tokens: number, total: number) => void;
}

/**
 * Counts the words of every usable document and trains a vocabulary on them. Bad records are passed over here:
 * tokenizing reports them; what would end the tokenizing ends this first.
 *
 * @returns The bytes of a tokenizer.json.
 * @throws {DataError} Where no text can be used, or a file of records can't be read to its end.
 */
export async function trainVocabulary(options: TrainVocabularyOptions): Promise<Uint8Array> {
  const { source, vocabSize, kind, library, textField, invalidUtf8, signal } = options;
  using trainer = new TokenizerTrainer({
    vocabSize,
    library,
    ...(kind === undefined ? {} : { kind }),
  });
  let read = 0;
  let textBytes = 0;
  const cut = { newline: "ends", extraIds: 0, exact: false } as const;
  const units = workUnits(source.files, {
    cut,
    textField,
    onRead: (bytes) => options.onRead?.(read += bytes),
  });
  for await (const unit of units) {
    signal?.throwIfAborted();
    const { parts, problems } = extractText(unit, { textField, invalidUtf8, cut });
    for (const problem of problems) throwFatal(problem, source.files);
    for (const { bytes, problem } of parts) {
      if (problem !== null) throwFatal(problem, source.files);
      trainer.add(bytes);
      textBytes += bytes.length;
    }
  }
  if (textBytes === 0) {
    const { path } = source.files[0]!;
    throw new DataError(
      `Cannot train a vocabulary on ${path} (${source.files.length} files) as none of it is usable text`,
      { path },
    );
  }
  const json = trainer.train(options.onMerge);
  signal?.throwIfAborted();
  return json;
}
