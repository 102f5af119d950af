/**
 * The error of a run that stability has given up.
 *
 * @module
 */

/** Training can't go on by itself. Commands end with exit code 3 on it. */
export class DivergedError extends Error {
  override readonly name = "DivergedError";
  /** Optimizer step, from 1, at which it was given up. */
  readonly step: number;

  constructor(message: string, step: number) {
    super(message);
    this.step = step;
  }
}
