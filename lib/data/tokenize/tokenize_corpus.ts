/**
 * Raw text to token files.
 *
 * @module
 */
import type { NativeLibrary } from "../../ffi/library.ts";
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";
import { AtomicFile } from "../atomic_file.ts";
import { DataError } from "../errors.ts";
import type { InvalidUtf8 } from "../text/extract.ts";
import type { SourceListing } from "../text/source_files.ts";
import { findTextCut } from "../text/text_cut.ts";
import { workUnits } from "../text/work_units.ts";
import { tokenWidthFor } from "../token_format.ts";
import {
  CorpusWriter,
  type CorpusWriterOptions,
  prepareOutput,
  type WrittenFile,
} from "./corpus_writer.ts";
import { encodeUnits } from "./encoder_pool.ts";
import { ProblemLog } from "./problem_log.ts";
import { type EncodedUnit, PART } from "./unit_encoder.ts";

/** How far a run is. */
export interface TokenizeProgress {
  /** Bytes read from disk, of {@linkcode totalBytes}. */
  readonly readBytes: number;
  readonly totalBytes: number;
  /** Bytes of text encoded: after decompression and out of their records. */
  readonly textBytes: number;
  readonly tokens: number;
  readonly documents: number;
  /** Records and documents left out. */
  readonly problems: number;
}

/** Options of {@linkcode tokenizeCorpus}. */
export interface TokenizeOptions {
  /** What `findSourceFiles` found. */
  source: SourceListing;
  /** Training file to write, `*.tokens`. */
  output: string;
  tokenizer: Tokenizer;
  /** Ids before each document's own. @default the tokenizer's */
  startIds?: readonly number[];
  /** Where a copy of the tokenizer goes, with the token files or not at all. @default {null} */
  saveTokenizer?: string | null;
  library: NativeLibrary;
  /** Threads that encode. */
  workers: number;
  /** Field or column that holds the text. @default {"text"} */
  textField?: string;
  /** @default {"replace"} */
  invalidUtf8?: InvalidUtf8;
  /** Share of the documents held out in `<name>.val.tokens`. @default {0} */
  valFraction?: number;
  /** Chooses them. @default {0} */
  seed?: number;
  /** Tokens of a training file before the next one begins. @default {null} */
  shardTokens?: number | null;
  /** Bad records that are left out before the run ends with an error. @default {1000} */
  maxErrors?: number;
  /** Bytes of a unit of work, about. @default {1048576} */
  unitBytes?: number;
  /** Ends the run early; nothing is then left on disk. */
  signal?: AbortSignal;
  onProgress?: (progress: TokenizeProgress) => void;
  /** Told each record or document that is left out. */
  onProblem?: (text: string) => void;
}

/** What a run did. */
export interface TokenizeReport extends TokenizeProgress {
  readonly files: readonly WrittenFile[];
  /** Of the tokenizer; a model's must be at least as large. */
  readonly vocabSize: number;
  /** What each document begins and ends with, by the tokens' names. */
  readonly startTokens: readonly string[];
  readonly endToken: string;
  /** Share of the documents that was to be held out. */
  readonly valFraction: number;
  /** Malformed UTF-8 sequences that became U+FFFD. */
  readonly replaced: number;
  /** Documents without text, left out silently. */
  readonly empty: number;
  /** The first problems in words. */
  readonly problemTexts: readonly string[];
  readonly seconds: number;
}

/**
 * Encodes every document of the source and writes token files. The output depends on the source, the tokenizer and
 * the options, never on the number of workers. Whatever ends the run early, no file is left behind.
 *
 * @throws {DataError} Where no document can be used, too many are bad, or the tokenizer marks no document ends.
 */
export async function tokenizeCorpus(options: TokenizeOptions): Promise<TokenizeReport> {
  const started = performance.now();
  const { source, tokenizer, library, workers, textField = "text", signal } = options;
  const { eosId } = tokenizer;
  const { startIds = tokenizer.startIds } = options;
  if (eosId === null) {
    throw new DataError(
      "Cannot mark the ends of documents as the tokenizer has no end-of-text token " +
        "(<|endoftext|>, </s>, …). Use another tokenizer.json",
    );
  }
  const fileOptions: CorpusWriterOptions = {
    output: options.output,
    valFraction: options.valFraction ?? 0,
    seed: options.seed ?? 0,
    shardTokens: options.shardTokens ?? null,
    vocabSize: tokenizer.vocabSize,
    tokenWidth: tokenWidthFor(tokenizer.vocabSize),
    endOfDocumentId: eosId,
    startIds,
    tokenizerHash: tokenizer.hash,
  };
  await prepareOutput(fileOptions);
  const cut = findTextCut(tokenizer);
  const totals = new Totals(source, options);
  for (const path of source.unopened) totals.problemLog.addUnopened(path);
  const units = workUnits(source.files, {
    cut,
    textField,
    onRead: (bytes) => totals.readBytes += bytes,
    ...(options.unitBytes === undefined ? {} : { unitBytes: options.unitBytes }),
  });
  const encoded = encodeUnits(units, {
    tokenizer,
    library,
    workers,
    textField,
    invalidUtf8: options.invalidUtf8 ?? "replace",
    cut,
    tokenWidth: fileOptions.tokenWidth,
    startIds,
    endOfDocumentId: eosId,
  });
  using writer = new CorpusWriter(fileOptions);
  const merger = new Merger(writer, totals.problemLog);
  for await (const unit of encoded) {
    signal?.throwIfAborted();
    merger.add(unit);
    totals.add(unit, writer.documentCount);
    options.onProgress?.(totals.progress);
  }
  signal?.throwIfAborted();
  if (writer.documentCount === 0) throw nothingUsable(source, totals);
  using copy = options.saveTokenizer ? new AtomicFile(options.saveTokenizer) : null;
  copy?.write(tokenizer.json);
  copy?.close();
  const files = await writer.commit();
  copy?.commit();
  return {
    ...totals.progress,
    // Documents that turned out bad had been counted with their tokens.
    tokens: files.reduce((sum, file) => sum + file.tokens, 0),
    files,
    vocabSize: tokenizer.vocabSize,
    startTokens: startIds.map((id) => tokenizer.tokenName(id)!),
    endToken: tokenizer.tokenName(eosId)!,
    valFraction: fileOptions.valFraction,
    replaced: totals.replaced,
    empty: totals.empty,
    problemTexts: totals.problemLog.texts,
    seconds: (performance.now() - started) / 1000,
  };
}

/** Puts the parts of documents together again. */
class Merger {
  readonly #writer: CorpusWriter;
  readonly #problems: ProblemLog;
  /** Whether the rest of the current document is passed over. */
  #abandoned = false;

  constructor(writer: CorpusWriter, problems: ProblemLog) {
    this.#writer = writer;
    this.#problems = problems;
  }

  add(unit: EncodedUnit): void {
    const { tokens, ends, flags, badParts, problems } = unit;
    for (const problem of problems) this.#problems.add(problem);
    let start = 0;
    for (let part = 0; part < flags.length; part++) {
      const bits = flags[part]!;
      const end = ends[part]!;
      if (bits & PART.first) {
        this.#writer.begin();
        this.#abandoned = false;
      }
      if (!this.#abandoned) {
        if (bits & PART.bad) {
          this.#writer.abandon();
          this.#abandoned = true;
          this.#problems.add(badParts.get(part)!);
        } else {
          this.#writer.write(tokens, { start, end });
          if (bits & PART.last) this.#writer.end();
        }
      }
      start = end;
    }
  }
}

/** Running sums of a run. */
class Totals {
  readonly problemLog: ProblemLog;
  readonly #totalBytes: number;
  readBytes = 0;
  replaced = 0;
  empty = 0;
  #textBytes = 0;
  #tokens = 0;
  #documents = 0;

  constructor(source: SourceListing, options: TokenizeOptions) {
    const { maxErrors = 1000, onProblem } = options;
    this.problemLog = new ProblemLog(source.files, {
      maxErrors,
      ...(onProblem === undefined ? {} : { onProblem }),
    });
    this.#totalBytes = source.files.reduce((sum, file) => sum + file.bytes, 0);
  }

  get progress(): TokenizeProgress {
    return {
      readBytes: this.readBytes,
      totalBytes: this.#totalBytes,
      textBytes: this.#textBytes,
      tokens: this.#tokens,
      documents: this.#documents,
      problems: this.problemLog.count,
    };
  }

  add(unit: EncodedUnit, documents: number): void {
    this.#textBytes += unit.textBytes;
    this.#tokens += unit.tokens.length;
    this.#documents = documents;
    this.replaced += unit.replaced;
    this.empty += unit.empty;
  }
}

function nothingUsable(source: SourceListing, totals: Totals): DataError {
  const { path } = source.files[0]!;
  const where = source.files.length === 1 ? path : `${path} and ${source.files.length - 1} more`;
  const { count, texts } = totals.problemLog;
  const one = source.files.length === 1 ? "it holds" : "they hold";
  const why = count === 0
    ? `${one} no text`
    : count === 1
    ? `the only one is bad, ${texts[0]}`
    : `all ${count} are bad, the first is ${texts[0]}`;
  return new DataError(`Cannot tokenize ${where} as no document of it can be used: ${why}`, {
    path,
  });
}
