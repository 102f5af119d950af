/**
 * AdamW with global-norm clipping, over the flat groups of a model's parameters.
 *
 * @module
 */

import type { Device } from "../ffi/device.ts";
import { adamw, ADAMW_BLOCK, ADAMW_HYPER, adamwBegin } from "../kernels/adamw.ts";
import { norm } from "../kernels/reduce.ts";
import { Arena } from "../tensor/arena.ts";
import type { DType } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** A flat block of parameters that share their hyper-parameters. */
export interface OptimizedGroup {
  readonly group: string;
  readonly value: Tensor; // (n) float32
  readonly grad: Tensor | null; // (n) float32 or bfloat16
  /**
   * Elements `from` to `to` (exclusive) that are trained; the others keep their values and moments,
   * and their gradients count for nothing. @default all
   */
  readonly trained?: readonly { readonly from: number; readonly to: number }[];
}

/** What the optimizer is given to optimize. */
export interface OptimizedParameters {
  readonly groups: readonly OptimizedGroup[];
}

/** What moments are kept in: 8, 4 or 2.03 bytes a weight. */
export type AdamWState = "fp32" | "bf16" | "int8";

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
  /**
   * What moments of the group `projections` are kept in. Those of all others are float32 in any
   * case: rows of rare tokens have gradients that are mostly 0, which share no scale with their
   * neighbours', and there are few of them. @default "fp32"
   */
  state?: AdamWState;
}

/** Hyper-parameters of one step. */
export interface AdamWStep {
  /** Learning rate, or that of each group. */
  readonly lr: number | ((group: string) => number);
  /** Decoupled weight decay of a group; the trainer decays those whose declaration says so. */
  readonly weightDecay: (group: string) => number;
}

/** Moments of a group, flat like the group. */
export interface Moments {
  readonly state: AdamWState;
  readonly m: Tensor; // (n) float32, bfloat16 or uint8
  readonly v: Tensor; // (n) of m's dtype
  readonly mAbsmax: Tensor | null; // (ceil(n / 256)) float32, with uint8 alone
  readonly vAbsmax: Tensor | null; // the same
}

const HYPER = ADAMW_HYPER.length;
const DTYPES: Record<AdamWState, DType> = { fp32: "float32", bf16: "bfloat16", int8: "uint8" };

const FLOAT = "at least 0, and finite in float32";

function isFloat(value: number): boolean {
  return value >= 0 && Number.isFinite(Math.fround(value));
}

function requireOption(
  name: string,
  value: number,
  { holds, rule }: { holds: boolean; rule: string },
): void {
  if (holds) return;
  throw new RangeError(
    `Cannot train with AdamW as ${name} must be ${rule}: current value is ${value}`,
  );
}

/**
 * Decoupled weight decay regularisation (arXiv:1711.05101). It owns the moments: hold it with `using`.
 *
 * A step whose gradient norm is not finite changes nothing and is not counted; the device decides, no one waits for it.
 */
export class AdamW implements Disposable {
  readonly #parameters: OptimizedParameters;
  readonly #arena = new Arena("optimizer");
  readonly #moments: ReadonlyMap<string, Moments>;
  readonly #hyper: Tensor; // (groups, 8)
  readonly #gradNorm: Tensor; // (1)
  readonly #updates: Tensor; // (1) int32
  readonly #hyperValues: Float32Array<ArrayBuffer>;
  readonly #beta1: number;
  readonly #beta2: number;
  readonly #eps: number;
  readonly #maxGradNorm: number;

  /** Plans the moments; {@linkcode AdamW.commit} takes their memory. */
  constructor(parameters: OptimizedParameters, options: AdamWOptions = {}) {
    this.#parameters = parameters;
    const { beta1 = 0.9, beta2 = 0.95, eps = 1e-8, maxGradNorm = 1 } = options;
    for (const [name, beta] of [["beta1", beta1], ["beta2", beta2]] as const) {
      const holds = isFloat(beta) && Math.fround(beta) < 1;
      requireOption(name, beta, { holds, rule: "from 0 to below 1 in float32" });
    }
    const isPositive = (value: number) => isFloat(value) && Math.fround(value) > 0;
    requireOption("eps", eps, { holds: isPositive(eps), rule: "above 0 in float32" });
    requireOption("maxGradNorm", maxGradNorm, {
      holds: maxGradNorm === 0 || isPositive(maxGradNorm),
      rule: "0, or above 0 in float32",
    });
    this.#beta1 = beta1;
    this.#beta2 = beta2;
    this.#eps = eps;
    this.#maxGradNorm = maxGradNorm;
    const { groups } = parameters;
    this.#moments = new Map(groups.map(({ group, value }) => [
      group,
      this.#plan(group, value.length, options.state ?? "fp32"),
    ]));
    this.#hyper = this.#arena.tensor("hyper", "float32", [groups.length, HYPER]);
    this.#gradNorm = this.#arena.tensor("grad_norm", "float32", [1]);
    this.#updates = this.#arena.tensor("updates", "int32", [1]);
    this.#hyperValues = new Float32Array(groups.length * HYPER);
    this.#trained(); // refuses here, not at the first step, what can't be trained
  }

  /** Bytes of the moments. */
  get bytes(): number {
    return this.#arena.bytes;
  }

  /** Takes the memory; moments and the number of updates start at 0. */
  commit(device: Device): this {
    this.#arena.commit(device);
    return this;
  }

  /** First and second moment of a group, and what they are kept in. */
  moments(group: string): Moments {
    const moments = this.#moments.get(group);
    if (moments === undefined) {
      const known = [...this.#moments.keys()].join(", ");
      throw new RangeError(
        `Cannot find moments as a group must be one of ${known}: current value is ${group}`,
      );
    }
    return moments;
  }

  /** Updates every group from its gradients. Asynchronous; {@linkcode AdamW.gradNorm} then waits for the norm. */
  step(options: AdamWStep): void {
    this.prepare(options);
    this.update();
  }

  /** Sends the hyper-parameters of the next {@linkcode AdamW.update} to the device. */
  prepare({ lr, weightDecay }: AdamWStep): void {
    for (const [index, { group }] of this.#parameters.groups.entries()) {
      // The bias corrections, here 1, follow from the number of updates, which the device counts.
      const rate = typeof lr === "number" ? lr : lr(group);
      const decay = weightDecay(group);
      requireOption(`lr of ${group}`, rate, { holds: isFloat(rate), rule: FLOAT });
      requireOption(`weightDecay of ${group}`, decay, { holds: isFloat(decay), rule: FLOAT });
      const row = [rate, this.#beta1, this.#beta2, this.#eps, decay, 1, 1];
      this.#hyperValues.set([...row, this.#maxGradNorm], index * HYPER);
    }
    this.#hyper.upload(this.#hyperValues);
  }

  /**
   * {@linkcode AdamW.step} with what was prepared: ops alone, nothing is copied to or from the host, so that a graph can record
   * it.
   */
  update(): void {
    const gradNorm = this.#gradNorm, updates = this.#updates;
    this.measureGradNorm();
    adamwBegin({ gradNorm, updates, hyper: this.#hyper });
    // The bits that bfloat16 moments are rounded by go by an element's place in its range.
    for (const { index, moments, w, g, from, to } of this.#trained()) {
      if (g === null) {
        throw new Error("Cannot optimize a model that was created without gradients");
      }
      const part = (flat: Tensor) => flat.view([to - from], { offset: from });
      const scales = (absmax: Tensor | null) =>
        absmax?.rows(from / ADAMW_BLOCK, Math.ceil(to / ADAMW_BLOCK)) ?? null;
      adamw({
        w: part(w),
        g: part(g),
        m: part(moments.m),
        v: part(moments.v),
        mAbsmax: scales(moments.mAbsmax),
        vAbsmax: scales(moments.vAbsmax),
        hyper: this.#hyper.view([HYPER], { offset: index * HYPER }),
        gradNorm,
        updates,
      });
    }
  }

  /** Computes the global gradient norm alone, for one who must know it before an update. Asynchronous. */
  measureGradNorm(): void {
    let accumulate = false;
    for (const { g, from, to } of this.#trained()) {
      if (g === null) continue;
      norm({ x: g.view([to - from], { offset: from }), out: this.#gradNorm, accumulate });
      accumulate = true;
    }
  }

  /** Updates since the moments were 0, skipped steps not among them. Waits for the device. */
  get updates(): number {
    return this.#updates.download(new Int32Array(1))[0]!;
  }

  /** Says how many updates the moments have had, when they come out of a checkpoint. */
  restoreUpdates(updates: number): void {
    if (!Number.isInteger(updates) || updates < 0 || updates >= 2 ** 31) {
      throw new RangeError(
        `Cannot restore the optimizer as its updates must be a whole number below 2^31: current value is ${updates}`,
      );
    }
    this.#updates.upload(Int32Array.of(updates));
  }

  /** Where the global gradient norm of the last step stands, (1) float32. */
  get gradNormTensor(): Tensor {
    return this.#gradNorm;
  }

  /** Global gradient norm of the last step, before clipping. Waits for the device. */
  gradNorm(): number {
    return this.#gradNorm.toFloat32Array()[0]!;
  }

  [Symbol.dispose](): void {
    this.#arena[Symbol.dispose]();
  }

  /** The ranges of flat blocks that are trained, `index` that of their group. */
  #trained() {
    const ranges = this.#parameters.groups.flatMap(({ group, value, grad, trained }, index) => {
      const moments = this.moments(group);
      const all = [{ from: 0, to: value.length }];
      return (trained ?? all).map((range) => ({
        ...range,
        index,
        group,
        moments,
        w: value,
        g: grad,
      }));
    });
    if (ranges.length === 0) {
      throw new RangeError("Cannot train as every parameter is frozen: leave one out at least");
    }
    for (const { group, moments, w, from, to } of ranges) {
      const isEnd = (at: number) => at % ADAMW_BLOCK === 0 || at === w.length;
      if (moments.state !== "int8" || (isEnd(from) && isEnd(to))) continue;
      throw new RangeError(
        `Cannot keep moments of ${group} in int8 as ${ADAMW_BLOCK} elements share a scale, and what is frozen must not end among them: ` +
          `current value is a trained range from element ${from} to ${to} of ${w.length}; freeze other matrices, or take fp32 or bf16`,
      );
    }
    return ranges;
  }

  #plan(group: string, length: number, wanted: AdamWState): Moments {
    const state = group === "projections" ? wanted : "fp32";
    const moment = (name: string) =>
      this.#arena.tensor(`${group}.${name}`, DTYPES[state], [length]);
    const absmax = (name: string) =>
      state !== "int8" ? null : this.#arena.tensor(`${group}.${name}.absmax`, "float32", [
        Math.ceil(length / ADAMW_BLOCK),
      ]);
    return {
      state,
      m: moment("exp_avg"),
      v: moment("exp_avg_sq"),
      mAbsmax: absmax("exp_avg"),
      vAbsmax: absmax("exp_avg_sq"),
    };
  }
}
