/**
 * Data to evaluate on, be it tokens or raw text.
 *
 * @module
 */

import { join } from "@std/path";
import { FILES } from "../checkpoint/layout.ts";
import { DataError } from "../data/errors.ts";
import { requireSameStart, TokenDataset } from "../data/shards.ts";
import { findSourceFiles } from "../data/text/source_files.ts";
import { tokenizeCorpus, type TokenizeProgress } from "../data/tokenize/tokenize_corpus.ts";
import type { NativeLibrary } from "../ffi/library.ts";
import type { SpecialTokens } from "../interop/huggingface.ts";
import type { BitNetTransformer } from "../model/transformer.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import {
  type EvaluateOptions,
  type Evaluation,
  type EvaluationProgress,
  LanguageModelEvaluator,
} from "./language_model.ts";
import { TokenBytes } from "./token_bytes.ts";

/** Told how an evaluation goes. */
export interface TextObserver {
  /** Raw text is being tokenized. */
  tokenized(progress: TokenizeProgress): void;
  scored(progress: EvaluationProgress): void;
  /** A record of the text that is left out, and why. */
  leftOut(problem: string): void;
}

/** Options of {@linkcode evaluateText}. */
export interface EvaluateTextOptions extends Omit<EvaluateOptions, "onProgress"> {
  /** Tokens of a window. @default the model's maxSeqLen */
  readonly seqLen?: number;
  /** Field of JSON lines or column of parquet that holds the text. @default "text" */
  readonly textField?: string;
  readonly observer?: TextObserver;
}

/** Options of {@linkcode openEvaluationData}. */
export interface EvaluationDataOptions {
  readonly library: NativeLibrary;
  /** The model's vocabulary: every id must be below it. */
  readonly vocabSize: number;
  /** The model's tokenizer; token files can do without. */
  readonly tokenizer: Tokenizer | null;
  /** Where that lies, for messages. @default null */
  readonly tokenizerPath?: string | null;
  /** What the documents began with that the model was trained on. @default what the tokenizer puts before a text */
  readonly startIds?: readonly number[];
  /** Field of JSON lines or column of parquet that holds the text. @default "text" */
  readonly textField?: string;
  readonly observer?: TextObserver;
  /** Ends the tokenizing of a text early; nothing of it is then left. */
  readonly signal?: AbortSignal;
}

/** A model and what came beside it; `path` is the folder of both. */
export interface EvaluatedModel {
  readonly model: BitNetTransformer;
  readonly tokenizer: Tokenizer | null;
  readonly path?: string;
  readonly specialTokens?: SpecialTokens;
}

/**
 * Scores a token file, a text file or a folder of text; see {@linkcode LanguageModelEvaluator.run}.
 *
 * @throws {DataError} as {@linkcode openEvaluationData} does; `RangeError` for an option out of range, and where the model's
 * answers are no numbers.
 */
export async function evaluateText(
  loaded: EvaluatedModel,
  path: string,
  options: EvaluateTextOptions = {},
): Promise<Evaluation> {
  const { textField, observer, ...rest } = options;
  using dataset = await openTextFor(loaded, path, {
    ...(textField !== undefined && { textField }),
    ...(observer !== undefined && { observer }),
  });
  return scoreText(loaded, dataset, { ...rest, path, ...(observer !== undefined && { observer }) });
}

/** {@linkcode openEvaluationData} for a model: its vocabulary, its tokenizer, its library. */
export function openTextFor(
  { model, tokenizer, path: folder, specialTokens }: EvaluatedModel,
  path: string,
  options: Pick<EvaluationDataOptions, "textField" | "observer" | "signal"> = {},
): Promise<TokenDataset> {
  return openEvaluationData(path, {
    ...options,
    library: model.device.library,
    vocabSize: model.config.vocabSize,
    tokenizer,
    ...(specialTokens?.startIds !== undefined && { startIds: specialTokens.startIds }),
    ...(folder !== undefined && { tokenizerPath: join(folder, FILES.tokenizer) }),
  });
}

/** Scores what {@linkcode openTextFor} opened. Throws `RangeError` as {@linkcode evaluateText} does. */
export function scoreText(
  { model, tokenizer }: EvaluatedModel,
  dataset: TokenDataset,
  /** `path` is what was opened, for messages. */
  options: Omit<EvaluateTextOptions, "textField"> & { readonly path: string },
): Evaluation {
  const { seqLen, observer, path, ...rest } = options;
  using evaluator = new LanguageModelEvaluator(model, {
    tokenBytes: tokenizer === null ? null : new TokenBytes(tokenizer, dataset.startIds ?? []),
    ...(seqLen !== undefined && { seqLen }),
  });
  const found = evaluator.run(dataset, {
    ...rest,
    ...(observer !== undefined && { onProgress: (progress) => observer.scored(progress) }),
  });
  if (Number.isFinite(found.loss)) return found;
  throw new RangeError(
    `Cannot score ${path} as the model's answers must be numbers: current loss is ${found.loss}; ` +
      "its weights are damaged or their training diverged, take an earlier checkpoint",
  );
}

/**
 * Opens a token file, or tokenizes a text file or folder as `tokenize` would, into a temporary file that is gone once it is
 * opened: the figures of a text and of its token file are the same.
 *
 * @throws {DataError} where the path is missing, holds nothing, is of no known kind or of another vocabulary, where its documents
 * begin differently from those that the model was trained on, or where it is text and the model has no tokenizer.
 */
export async function openEvaluationData(
  path: string,
  options: EvaluationDataOptions,
): Promise<TokenDataset> {
  const { library, vocabSize, tokenizer, textField, observer, signal } = options;
  const open = (file: string) =>
    TokenDataset.open(file, {
      library,
      vocabSize,
      tokenizerHash: tokenizer?.hash ?? null,
      tokenizerPath: options.tokenizerPath ?? null,
      advice: "sequential",
    });
  const { startIds } = options;
  if (/\.(tokens|bin)$/.test(path)) {
    const dataset = open(path);
    try {
      requireSameStart("the model", startIds ?? null, { path, startIds: dataset.startIds });
      return dataset;
    } catch (error) {
      dataset[Symbol.dispose]();
      throw error;
    }
  }
  const source = await findSourceFiles(path);
  if (tokenizer === null) {
    throw new DataError(
      `Cannot evaluate on ${path} as raw text needs the model's tokenizer.json: current value is none beside the ` +
        "checkpoint. Put it there, or give a *.tokens file made with it",
      { path },
    );
  }
  if (tokenizer.vocabSize > vocabSize) {
    throw new DataError(
      `Cannot evaluate on ${path} with ${
        options.tokenizerPath ?? "the tokenizer"
      } as it has ${tokenizer.vocabSize} ids: ` +
        `the model's vocabulary has ${vocabSize}. Take the tokenizer.json that the model was trained with`,
      { path },
    );
  }
  const folder = await Deno.makeTempDir({ prefix: "titanbit-evaluate-" });
  try {
    const output = join(folder, "text.tokens");
    await tokenizeCorpus({
      source,
      output,
      tokenizer,
      library,
      workers: 1,
      ...(startIds !== undefined && { startIds }),
      ...(textField !== undefined && { textField }),
      ...(signal !== undefined && { signal }),
      ...(observer !== undefined && {
        onProgress: (progress) => observer.tokenized(progress),
        onProblem: (problem) => observer.leftOut(problem),
      }),
    });
    return open(output);
  } finally {
    await Deno.remove(folder, { recursive: true }); // a mapped file's pages stay until it is unmapped
  }
}
