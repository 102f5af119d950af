/**
 * What to do with a step whose loss or gradient norm is not finite. Pure: numbers in, a decision out.
 *
 * @module
 */

/** `continue`: the step counts; `skip`: it is left out; `stop`: the run ends. */
export type StepDecision = "continue" | "skip" | "stop";

/** Options of {@linkcode NonFinitePolicy}. */
export interface NonFiniteOptions {
  /** What the first such step brings about. */
  readonly onNonFinite: "stop" | "skip";
  /** Skips in a row that are allowed; one more stops the run. */
  readonly maxConsecutiveSkips: number;
}

/** Counts steps that are not finite and decides on each. */
export class NonFinitePolicy {
  readonly #options: NonFiniteOptions;
  #consecutive: number;

  /** `consecutive`: skips in a row so far, from a resumed run's state. */
  constructor(options: NonFiniteOptions, consecutive = 0) {
    this.#options = options;
    this.#consecutive = consecutive;
  }

  /** Skips in a row up to now. */
  get consecutive(): number {
    return this.#consecutive;
  }

  /** Judges one step by its loss and its gradient norm before clipping. */
  judge(step: { loss: number; gradNorm: number }): StepDecision {
    if (Number.isFinite(step.loss) && Number.isFinite(step.gradNorm)) {
      this.#consecutive = 0;
      return "continue";
    }
    this.#consecutive++;
    if (this.#options.onNonFinite === "stop") return "stop";
    return this.#consecutive > this.#options.maxConsecutiveSkips ? "stop" : "skip";
  }
}
