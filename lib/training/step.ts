/**
 * One optimizer step: gradients of some micro-batches, then AdamW.
 *
 * @module
 */

import type { BatchLoader } from "../data/loader.ts";
import type { Pass } from "../model/pass.ts";
import type { BitNetTransformer } from "../model/transformer.ts";
import type { AdamW } from "../optim/adamw.ts";

/** What a step takes. */
export interface StepOptions {
  /** Micro-batches whose gradients are added up. */
  readonly accumulationSteps: number;
  readonly lr: number;
  /** Decoupled weight decay of matrices and embeddings; norms have none. */
  readonly weightDecay: number;
}

/** What a step gives. */
export interface StepResult {
  /** Mean cross-entropy over the step's tokens, in nats. */
  readonly loss: number;
  /** Global gradient norm before clipping; the weights are as before where it is not finite. */
  readonly gradNorm: number;
}

/** Trains on batches of one shape. */
export class TrainingStep {
  readonly #model: BitNetTransformer;
  readonly #optimizer: AdamW;
  readonly #pass: Pass;
  readonly #batch: { ids: Int32Array<ArrayBuffer>; targets: Int32Array<ArrayBuffer> };

  /** `pass` was planned for training, with the micro-batch's shape, and committed. */
  constructor(model: BitNetTransformer, optimizer: AdamW, pass: Pass) {
    this.#model = model;
    this.#optimizer = optimizer;
    this.#pass = pass;
    const { rows } = pass.memory;
    this.#batch = { ids: new Int32Array(rows), targets: new Int32Array(rows) };
  }

  /** Takes the next micro-batches from the loader and updates the weights by them. */
  run(loader: BatchLoader, options: StepOptions): StepResult {
    const model = this.#model;
    const pass = this.#pass;
    const { accumulationSteps, weightDecay } = options;
    const perToken = 1 / (accumulationSteps * pass.memory.rows);
    model.parameters.zeroGradients();
    for (let micro = 0; micro < accumulationSteps; micro++) {
      loader.next(this.#batch);
      pass.ids.upload(this.#batch.ids);
      pass.targets.upload(this.#batch.targets);
      pass.forward();
      pass.backward({ gradScale: perToken });
      pass.addLoss({ scale: perToken, first: micro === 0 });
    }
    this.#optimizer.step({
      lr: options.lr,
      weightDecay: (group) => group === "norms" ? 0 : weightDecay,
    });
    model.parametersChanged();
    return { loss: pass.readLoss(), gradNorm: this.#optimizer.gradNorm() };
  }
}
