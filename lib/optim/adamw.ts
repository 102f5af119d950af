/**
 * AdamW with global-norm clipping, over the flat groups of a model's parameters.
 *
 * @module
 */

import type { Device } from "../ffi/device.ts";
import { adamw } from "../kernels/adamw.ts";
import { norm } from "../kernels/reduce.ts";
import { Arena } from "../tensor/arena.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** A flat block of parameters that share their hyper-parameters. */
export interface OptimizedGroup {
  readonly group: string;
  readonly value: Tensor; // (n) float32
  readonly grad: Tensor | null; // (n) float32
}

/** What the optimizer is given to optimize. */
export interface OptimizedParameters {
  readonly groups: readonly OptimizedGroup[];
  /** Every gradient in one block, whatever its group. */
  readonly flatGradients: Tensor;
}

/** Hyper-parameters that stay the same over a run. */
export interface AdamWOptions {
  /** @default 0.9 */
  beta1?: number;
  /** @default 0.95 */
  beta2?: number;
  /** @default 1e-8 */
  eps?: number;
  /** Largest global gradient norm; larger gradients are scaled down to it. 0 turns clipping off. @default 1 */
  maxGradNorm?: number;
}

/** Hyper-parameters of one step. */
export interface AdamWStep {
  /** Number of this step, from 1: what the bias correction goes by. */
  readonly step: number;
  readonly lr: number;
  /** Decoupled weight decay of a group; norms are never decayed by the trainer. */
  readonly weightDecay: (group: string) => number;
}

const HYPER = 8; // floats of a group in titanbit.h's order

/**
 * Decoupled weight decay regularisation (arXiv:1711.05101), moments in float32. It owns the moments: hold it with `using`.
 *
 * A step whose gradient norm is not finite changes nothing.
 */
export class AdamW implements Disposable {
  readonly #parameters: OptimizedParameters;
  readonly #arena = new Arena("optimizer");
  readonly #moments: ReadonlyMap<string, { m: Tensor; v: Tensor }>;
  readonly #hyper: Tensor; // (groups, 8)
  readonly #gradNorm: Tensor; // (1)
  readonly #hyperValues: Float32Array<ArrayBuffer>;
  readonly #beta1: number;
  readonly #beta2: number;
  readonly #eps: number;
  readonly #maxGradNorm: number;

  /** Plans the moments; {@linkcode AdamW.commit} takes their memory. */
  constructor(parameters: OptimizedParameters, options: AdamWOptions = {}) {
    this.#parameters = parameters;
    this.#beta1 = options.beta1 ?? 0.9;
    this.#beta2 = options.beta2 ?? 0.95;
    this.#eps = options.eps ?? 1e-8;
    this.#maxGradNorm = options.maxGradNorm ?? 1;
    this.#moments = new Map(parameters.groups.map(({ group, value }) => [group, {
      m: this.#arena.tensor(`${group}.exp_avg`, "float32", value.shape),
      v: this.#arena.tensor(`${group}.exp_avg_sq`, "float32", value.shape),
    }]));
    this.#hyper = this.#arena.tensor("hyper", "float32", [parameters.groups.length, HYPER]);
    this.#gradNorm = this.#arena.tensor("grad_norm", "float32", [1]);
    this.#hyperValues = new Float32Array(parameters.groups.length * HYPER);
  }

  /** Bytes of the moments. */
  get bytes(): number {
    return this.#arena.bytes;
  }

  /** Takes the memory; moments start at 0. */
  commit(device: Device): this {
    this.#arena.commit(device);
    return this;
  }

  /** First and second moment of a group, each flat like the group. */
  moments(group: string): { m: Tensor; v: Tensor } {
    const moments = this.#moments.get(group);
    if (moments === undefined) throw new RangeError(`Cannot find optimizer group ${group}`);
    return moments;
  }

  /**
   * Updates every group from its gradients. Asynchronous; {@linkcode AdamW.gradNorm} then waits for the norm.
   */
  step(options: AdamWStep): void {
    const { groups, flatGradients } = this.#parameters;
    norm({ x: flatGradients, out: this.#gradNorm });
    for (const [index, { group }] of groups.entries()) {
      this.#hyperValues.set([
        options.lr,
        this.#beta1,
        this.#beta2,
        this.#eps,
        options.weightDecay(group),
        1 - this.#beta1 ** options.step,
        1 - this.#beta2 ** options.step,
        this.#maxGradNorm,
      ], index * HYPER);
    }
    this.#hyper.upload(this.#hyperValues);
    for (const [index, { group, value, grad }] of groups.entries()) {
      if (grad === null) {
        throw new Error("Cannot optimize a model that was created without gradients");
      }
      const { m, v } = this.moments(group);
      const hyper = this.#hyper.view([HYPER], { offset: index * HYPER });
      adamw({ w: value, g: grad, m, v, hyper, gradNorm: this.#gradNorm });
    }
  }

  /** Global gradient norm of the last step, before clipping. Waits for the device. */
  gradNorm(): number {
    return this.#gradNorm.toFloat32Array()[0]!;
  }

  [Symbol.dispose](): void {
    this.#arena[Symbol.dispose]();
  }
}
