/**
 * What tokenizing shows: progress while it runs, then what it did.
 *
 * @module
 */
import type { SourceListing } from "../data/text/source_files.ts";
import type {
  TokenizeInputReport,
  TokensProgress,
  VocabularyProgress,
} from "../data/tokenize/tokenize_input.ts";
import { formatBytes, formatCount, formatDuration } from "./format.ts";
import { ProgressLine, type ProgressOptions } from "./progress.ts";
import { ProgressStages } from "./progress_stages.ts";

const PROBLEMS_SHOWN = 10;

/** Progress lines of a run: one for the vocabulary where one is trained, one for the tokens. */
export class TokenizeLines {
  readonly #options: ProgressOptions;
  readonly #stages: ProgressStages;
  #total = 0;

  /** Options of the lines, such as where they go. */
  constructor(options: ProgressOptions = {}) {
    this.#options = { plainIntervalMs: 5000, ...options };
    this.#stages = new ProgressStages(this.#options);
  }

  /** Says what was found. */
  start(source: SourceListing, totalBytes: number): void {
    this.#total = totalBytes;
    this.#stages.begin();
    const { files } = source;
    new ProgressLine(this.#options).log(
      `${formatCount(files.length)} file${files.length === 1 ? "" : "s"}, ${
        formatBytes(totalBytes)
      }`,
    );
  }

  /** Shows how far a stage is; the first call for a stage ends the line of the one before. */
  update(progress: VocabularyProgress | TokensProgress): void {
    const label = progress.stage === "vocabulary" ? "vocabulary" : "tokenize";
    const line = this.#stages.line(label, this.#total);
    line.update({ done: progress.readBytes, text: this.#text(progress) });
  }

  /** Ends the line. */
  finish(): void {
    this.#stages.finish();
  }

  #text(progress: VocabularyProgress | TokensProgress): string {
    if (progress.stage === "vocabulary") {
      const { readBytes, vocabSize } = progress;
      return vocabSize === 0 ? `${formatBytes(readBytes)} counted` : count(vocabSize, "token");
    }
    const rate = 1000 * progress.textBytes / this.#stages.elapsedMs;
    const bad = progress.problems === 0 ? "" : `, ${count(progress.problems, "bad record")}`;
    return `${formatCount(progress.tokens)} tokens, ${formatBytes(rate)}/s${bad}`;
  }
}

/** A few lines on the files written, the speed, and everything that was left out. */
export function describeTokenizing(report: TokenizeInputReport): string {
  const { leftOut } = report.source;
  const lines = report.files.map(({ path, tokens, documents, split }) => {
    const held = split === "train" ? "" : " held out";
    return `${path}: ${count(tokens, "token")}, ${count(documents, "document")}${held}`;
  });
  const { textBytes, seconds, tokens, tokenizerPath, vocabSize, wantedVocabSize } = report;
  const starts = report.startTokens.length === 0
    ? ""
    : ` begins with ${report.startTokens.join("")},`;
  lines.push(
    `each document${starts} ends with ${report.endToken}`,
    // In plain digits, as a config takes it.
    `${tokenizerPath}: a vocabulary of ${vocabSize} tokens; set model.vocab_size to ${vocabSize}`,
    `${formatBytes(textBytes)} of text in ${formatDuration(1000 * seconds)}, ${
      formatBytes(textBytes / seconds)
    }/s, ${(textBytes / tokens).toFixed(2)} bytes a token`,
  );
  if (wantedVocabSize !== null && vocabSize < wantedVocabSize) {
    lines.push(
      `warning: the vocabulary has ${vocabSize} tokens, not the ${wantedVocabSize} of --train-vocab: no more pairs occur ` +
        "twice in the text. Give more text for more",
    );
  }
  if (report.valFraction > 0 && !report.files.some(({ split }) => split === "validation")) {
    const remedy = report.documents === 1
      ? "Give more documents"
      : "Take a larger one, another --seed, or more documents";
    lines.push(
      `warning: none of ${count(report.documents, "document")} was held out at --val-fraction ` +
        `${report.valFraction}: there is no validation file. ${remedy}: ` +
        "a .txt or .md file is one, give several of them or a .jsonl file with a document a line",
    );
  }
  if (report.replaced > 0) {
    lines.push(`replaced ${count(report.replaced, "invalid UTF-8 sequence")} by U+FFFD`);
  }
  if (report.empty > 0) lines.push(`left out ${count(report.empty, "empty document")}`);
  if (leftOut.length > 0) {
    lines.push(`left out ${count(leftOut.length, "file")} of other kinds, such as ${leftOut[0]}`);
  }
  if (report.problems > 0) {
    const shown = report.problemTexts.slice(0, PROBLEMS_SHOWN);
    lines.push(`left out ${count(report.problems, "bad record")}:`);
    lines.push(...shown.map((text) => `  ${text}`));
    if (report.problems > shown.length) lines.push(`  and ${report.problems - shown.length} more`);
  }
  return lines.join("\n");
}

function count(value: number, what: string): string {
  return `${value.toLocaleString("en-US")} ${what}${value === 1 ? "" : "s"}`;
}
