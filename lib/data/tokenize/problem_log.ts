/**
 * What was wrong with a corpus, counted and capped.
 *
 * @module
 */
import { DataError } from "../errors.ts";
import type { Problem } from "../text/extract.ts";
import type { SourceFile } from "../text/source_files.ts";

/** Throws {@linkcode DataError} for a problem that ends the run. */
export function throwFatal(problem: Problem, files: readonly SourceFile[]): void {
  const { message, remedy } = problem;
  if (remedy === null) return;
  const { path } = files[problem.file]!;
  throw new DataError(`Cannot tokenize ${placeOf(problem, path)} as it ${message}. ${remedy}`, {
    path,
  });
}

function placeOf({ place }: Problem, path: string): string {
  return place === "" ? path : `${path}, ${place}`;
}

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

  /** Counts a problem; throws {@linkcode DataError} where it ends the run or there are too many. */
  add(problem: Problem): void {
    throwFatal(problem, this.#files);
    const { path } = this.#files[problem.file]!;
    this.#take(`${placeOf(problem, path)}: ${problem.message}`, path);
  }

  /** Counts a file or folder that can't be opened as one problem. */
  addUnopened(path: string): void {
    this.#take(`${path}: can't be opened as its name is no UTF-8: rename it`, path);
  }

  #take(text: string, path: string): void {
    this.#count++;
    if (this.#texts.length < 100) this.#texts.push(text);
    this.#onProblem(text);
    if (this.#count > this.#maxErrors) {
      throw new DataError(
        `Cannot go on tokenizing as at most ${this.#maxErrors} bad record${
          this.#maxErrors === 1 ? "" : "s"
        } may be left out; the last is ` +
          `${text}. Repair the input or raise --max-errors`,
        { path },
      );
    }
  }
}
