/**
 * What was wrong with a corpus, counted and capped.
 *
 * @module
 */
import { DataError } from "../errors.ts";
import type { Problem } from "../text/extract.ts";
import type { SourceFile } from "../text/source_files.ts";

/** Counts problems; the first ones are kept in words. */
export class ProblemLog {
  readonly #files: readonly SourceFile[];
  readonly #maxErrors: number;
  readonly #onProblem: (text: string) => void;
  readonly #texts: string[] = [];
  #count = 0;

  constructor(
    files: readonly SourceFile[],
    options: { maxErrors: number; onProblem?: (text: string) => void },
  ) {
    this.#files = files;
    this.#maxErrors = options.maxErrors;
    this.#onProblem = options.onProblem ?? (() => {});
  }

  /** Documents and records that were left out. */
  get count(): number {
    return this.#count;
  }

  /** The first of them in words. */
  get texts(): readonly string[] {
    return this.#texts;
  }

  /** Counts a problem; throws {@linkcode DataError} where it is fatal or there are too many. */
  add(problem: Problem): void {
    const { path } = this.#files[problem.file]!;
    const where = problem.place === "" ? path : `${path}, ${problem.place}`;
    const text = `${where}: ${problem.message}`;
    if (problem.fatal) {
      throw new DataError(
        `Cannot tokenize ${where} as it ${problem.message}. ` +
          "Repair it, or pass --invalid-utf8 replace or skip",
        { path },
      );
    }
    this.#count++;
    if (this.#texts.length < 100) this.#texts.push(text);
    this.#onProblem(text);
    if (this.#count > this.#maxErrors) {
      throw new DataError(
        `Cannot go on tokenizing as at most ${this.#maxErrors} bad records may be left out; the last is ` +
          `${text}. Repair the input or raise --max-errors`,
        { path },
      );
    }
  }
}
