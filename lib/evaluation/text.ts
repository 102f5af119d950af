/**
 * Data to evaluate on, be it tokens or raw text.
 *
 * @module
 */

import { join } from "@std/path";
import { DataError } from "../data/errors.ts";
import { TokenDataset } from "../data/shards.ts";
import { findSourceFiles } from "../data/text/source_files.ts";
import { tokenizeCorpus, type TokenizeProgress } from "../data/tokenize/tokenize_corpus.ts";
import type { NativeLibrary } from "../ffi/library.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";

/** Options of {@linkcode openEvaluationData}. */
export interface EvaluationDataOptions {
  readonly library: NativeLibrary;
  /** The model's vocabulary: every id must be below it. */
  readonly vocabSize: number;
  /** The model's tokenizer; token files can do without. */
  readonly tokenizer: Tokenizer | null;
  /** Field of JSON lines or column of parquet that holds the text. @default "text" */
  readonly textField?: string;
  /** Told while raw text is tokenized. */
  readonly onProgress?: (progress: TokenizeProgress) => void;
  /** Told each record that is left out. */
  readonly onProblem?: (text: string) => void;
}

/**
 * Opens a token file, or tokenizes a text file or folder as `tokenize` would, into a temporary file that is gone once it is
 * opened: the figures of a text and of its token file are the same.
 *
 * @throws {DataError} where the path is missing, holds nothing, is of no known kind or of another vocabulary, or is text and
 * the model has no tokenizer.
 */
export async function openEvaluationData(
  path: string,
  options: EvaluationDataOptions,
): Promise<TokenDataset> {
  const { library, vocabSize, tokenizer, onProgress, onProblem } = options;
  const open = (file: string) =>
    TokenDataset.open(file, {
      library,
      vocabSize,
      tokenizerHash: tokenizer?.hash ?? null,
      advice: "sequential",
    });
  if (/\.(tokens|bin)$/.test(path)) return open(path);
  const source = await findSourceFiles(path);
  if (tokenizer === null) {
    throw new DataError(
      `Cannot evaluate on ${path} as raw text needs the model's tokenizer.json: current value is none beside the ` +
        "checkpoint. Put it there, or give a *.tokens file made with it",
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
      ...(options.textField !== undefined && { textField: options.textField }),
      ...(onProgress !== undefined && { onProgress }),
      ...(onProblem !== undefined && { onProblem }),
    });
    return open(output);
  } finally {
    await Deno.remove(folder, { recursive: true }); // a mapped file's pages stay until it is unmapped
  }
}
