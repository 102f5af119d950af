/**
 * Progress of work in stages.
 *
 * @module
 */

import { ProgressLine, type ProgressOptions } from "./progress.ts";

/** A line of progress for each stage, whose clock starts where the stage before it was last heard of. */
export class ProgressStages {
  readonly #options: ProgressOptions;
  readonly #now: () => number;
  #line: ProgressLine | null = null;
  #label = "";
  #startedAt: number;
  #heardAt: number;

  /** Options of the lines; the first stage begins now. */
  constructor(options: ProgressOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#startedAt = this.#heardAt = this.#now();
  }

  /** The first stage begins now. */
  begin(): void {
    this.#heardAt = this.#now();
  }

  /** The line of a stage of so many units, at each word of it; the first ends the line of the stage before. */
  line(label: string, total: number): ProgressLine {
    if (this.#label !== label) {
      this.finish();
      this.#startedAt = this.#heardAt;
    }
    this.#label = label;
    this.#heardAt = this.#now();
    const startedAt = this.#startedAt;
    return this.#line ??= new ProgressLine({ ...this.#options, label, total, startedAt });
  }

  /** Milliseconds since the stage began. */
  get elapsedMs(): number {
    return this.#now() - this.#startedAt;
  }

  /** Ends the line that stands. */
  finish(): void {
    this.#line?.finish();
    this.#line = null;
  }
}
