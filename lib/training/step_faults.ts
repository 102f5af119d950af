/**
 * The faults of one step, done to its batches, gradients and results.
 *
 * @module
 */

import type { TokenBatch } from "../data/gather.ts";
import type { Fault } from "../stability/faults.ts";
import type { StepResult } from "./step.ts";

/** Makes the faults of a step, the same each time. */
export class StepFaults {
  readonly #faults: readonly Fault[];
  readonly #step: number;
  readonly #vocabSize: number;

  constructor(faults: readonly Fault[], options: { step: number; vocabSize: number }) {
    this.#faults = faults;
    this.#step = options.step;
    this.#vocabSize = options.vocabSize;
  }

  /** Whether a gradient must be NaN. */
  get poisonsGradient(): boolean {
    return this.#faults.some(({ kind }) => kind === "nan_gradient");
  }

  /** What happens when a batch is read. */
  corrupt(batch: TokenBatch): void {
    for (const { kind, ms } of this.#faults) {
      if (kind === "stalled_read") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
      if (kind === "corrupt_batch") {
        fillWithNoise(batch.ids, { seed: 2 * this.#step, below: this.#vocabSize });
        fillWithNoise(batch.targets, { seed: 2 * this.#step + 1, below: this.#vocabSize });
      }
    }
  }

  /** What becomes of a result that was read back. */
  distort(result: StepResult): StepResult {
    let { loss } = result;
    for (const { kind, factor } of this.#faults) {
      if (kind === "loss") loss *= factor;
      if (kind === "inf_loss") loss = Infinity;
    }
    return { loss, gradNorm: result.gradNorm };
  }
}

/** Tokens of no sense, from a multiplicative generator. */
function fillWithNoise(ids: Int32Array, options: { seed: number; below: number }): void {
  let state = 1 + (options.seed * 7919) % 2147483646;
  for (let i = 0; i < ids.length; i++) {
    state = (state * 48271) % 2147483647;
    ids[i] = state % options.below;
  }
}
