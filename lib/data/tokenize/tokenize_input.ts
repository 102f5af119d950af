/**
 * The whole way from an input path to token files: find, train or load, encode.
 *
 * @module
 */
import type { NativeLibrary } from "../../ffi/library.ts";
import { loadTokenizer, tokenizerFromJson } from "../../tokenizer/tokenizer.ts";
import { findSourceFiles, type SourceListing } from "../text/source_files.ts";
import { prepareOutput, replacedFiles } from "./corpus_writer.ts";
import {
  tokenizeCorpus,
  type TokenizeOptions,
  type TokenizeProgress,
  type TokenizeReport,
} from "./tokenize_corpus.ts";
import { prepareTokenizer, tokenizerBeside } from "./tokenizer_place.ts";
import { trainVocabulary } from "./train_vocabulary.ts";

/** A tokenizer to load, or one to train on the input itself. */
export type TokenizerChoice =
  | { readonly path: string }
  | TrainedChoice;

/** What tokenizer to train, and where it goes. */
export interface TrainedChoice {
  readonly vocabSize: number;
  readonly kind: "byte_level" | "sentencepiece";
  /** @default `tokenizer.json` beside the output */
  readonly output?: string;
}

/** Options of {@linkcode tokenizeInput}; the others are those of {@linkcode tokenizeCorpus}. */
export interface TokenizeInputOptions
  extends
    Omit<TokenizeOptions, "source" | "tokenizer" | "saveTokenizer" | "workers" | "onProgress"> {
  /** File or folder of text. */
  input: string;
  tokenizer: TokenizerChoice;
  library: NativeLibrary;
  /** Threads that encode. @default as many cores as the size of the input is worth */
  workers?: number;
  /** Told once, when the files are known. */
  onSource?: (source: SourceListing, totalBytes: number) => void;
  /** Told what has been read for the vocabulary, then for the tokens. */
  onProgress?: (progress: VocabularyProgress | TokensProgress) => void;
}

/** How far counting words, and then merging, is. */
export interface VocabularyProgress {
  readonly stage: "vocabulary";
  readonly readBytes: number;
  /** Tokens of the vocabulary so far; 0 while words are counted. */
  readonly vocabSize: number;
}

/** How far encoding is. */
export interface TokensProgress extends TokenizeProgress {
  readonly stage: "tokens";
}

/** A run's report and what it ran on. */
export interface TokenizeInputReport extends TokenizeReport {
  readonly source: SourceListing;
  /** The tokenizer that was used or trained. */
  readonly tokenizerPath: string;
  /** Tokens that its vocabulary was to have, where it was trained. */
  readonly wantedVocabSize: number | null;
}

// A worker takes as long to start as some megabytes take to encode.
const BYTES_WORTH_A_WORKER = 8 << 20;

/**
 * Tokenizes a file or folder. A trained tokenizer is written, too, unless it would take the place of one that other token files
 * beside it were made with.
 *
 * @throws {DataError} Where the input or output can't be used; see {@linkcode tokenizeCorpus}.
 * @throws {TokenizerError} Where the tokenizer can't be loaded.
 */
export async function tokenizeInput(options: TokenizeInputOptions): Promise<TokenizeInputReport> {
  const { input, tokenizer: choice, library, output, onSource, onProgress, workers, ...rest } =
    options;
  const source = await findSourceFiles(input);
  const totalBytes = source.files.reduce((sum, file) => sum + file.bytes, 0);
  onSource?.(source, totalBytes);
  const saveTokenizer = "path" in choice ? null : choice.output ?? tokenizerBeside(output);
  const { valFraction = 0, shardTokens = null } = rest;
  // Before a vocabulary is trained, which may take hours.
  await prepareOutput({ output, valFraction, shardTokens });
  if (saveTokenizer !== null) {
    await prepareTokenizer(saveTokenizer, replacedFiles({ output, valFraction, shardTokens }));
  }
  const trained = "path" in choice ? null : await train(choice, { source, options });
  using tokenizer = "path" in choice
    ? await loadTokenizer(choice.path, { library })
    : await tokenizerFromJson(trained!, { library });
  const cores = Math.min(
    navigator.hardwareConcurrency,
    1 + Math.floor(totalBytes / BYTES_WORTH_A_WORKER),
  );
  const report = await tokenizeCorpus({
    ...rest,
    source,
    output,
    library,
    tokenizer,
    workers: workers ?? cores,
    saveTokenizer,
    onProgress: (progress) => onProgress?.({ stage: "tokens", ...progress }),
  });
  return {
    ...report,
    source,
    tokenizerPath: "path" in choice ? choice.path : saveTokenizer!,
    wantedVocabSize: "path" in choice ? null : choice.vocabSize,
  };
}

function train(
  { vocabSize, kind }: TrainedChoice,
  context: { source: SourceListing; options: TokenizeInputOptions },
): Promise<Uint8Array> {
  const { source, options } = context;
  const { library, textField = "text", invalidUtf8 = "replace", signal, onProgress } = options;
  const progress = { stage: "vocabulary", readBytes: 0, vocabSize: 0 } as const;
  let readBytes = 0;
  return trainVocabulary({
    vocabSize,
    kind,
    source,
    library,
    textField,
    invalidUtf8,
    ...(signal === undefined ? {} : { signal }),
    onRead: (bytes) => onProgress?.({ ...progress, readBytes: readBytes = bytes }),
    onMerge: (vocabSize) => onProgress?.({ ...progress, readBytes, vocabSize }),
  });
}
