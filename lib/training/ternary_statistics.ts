/**
 * What only a ternary run has to tell: how its weights spread over -1, 0 and 1, how many of them move, and what the quantiser makes
 * of the projections' inputs. docs/ternary-statistics.md says what each figure means.
 *
 * @module
 */

import type { Device } from "../ffi/device.ts";
import {
  QUANTIZED_COUNTS,
  quantizedStatistics,
  TERNARY_COUNTS,
  ternaryStatistics,
} from "../kernels/statistics.ts";
import type { TernaryRecord } from "../metrics/records.ts";
import type { ProjectionInput } from "../model/activations.ts";
import { BitLinear, type TernaryMatrix } from "../model/bit_linear.ts";
import type { Block, BlockMemory } from "../model/block.ts";
import type { Pass } from "../model/pass.ts";
import type { BitNetTransformer } from "../model/transformer.ts";
import { Arena } from "../tensor/arena.ts";
import type { Tensor } from "../tensor/tensor.ts";

const MATRICES = ["q", "k", "v", "o", "gate", "up", "down"] as const;
const INPUTS = ["qkv", "o", "gate_up", "down"] as const;

/** Distance from a threshold, in units of beta, up to which a latent weight is near it. */
export const NEAR_MARGIN = 0.1;

/** A matrix, and what its ternary values were when they were last counted. */
interface Counted extends TernaryMatrix {
  readonly previous: Tensor | null;
}

/**
 * Counts a model's ternary weights and the quantised inputs of a pass, between steps: it only reads what training uses, apart from the
 * activations of a pass that recomputes them. It owns its memory: hold it with `using`.
 */
export class TernaryStatistics implements Disposable {
  readonly #model: BitNetTransformer;
  readonly #pass: Pass;
  readonly #arena = new Arena("statistics of ternary weights");
  readonly #matrices: readonly Counted[];
  readonly #copies: readonly { readonly of: Tensor; readonly to: Tensor }[];
  readonly #counts: Tensor; // (matrices, 5) int64
  readonly #betas: Tensor; // (matrices)
  readonly #inputCounts: Tensor; // (inputs, 2) int64
  readonly #inputScales: Tensor; // (inputs, 2)
  /** Step that the copies are of; `null` where there are none. */
  #copiedAt: number | null = null;

  /**
   * Plans the memory; {@linkcode TernaryStatistics.commit} takes it. With `flipRate` that is a byte a ternary weight. `pass` is the
   * one that trains.
   *
   * Throws `TypeError` where a projection is no {@linkcode BitLinear}.
   */
  constructor(model: BitNetTransformer, options: { pass: Pass; flipRate: boolean }) {
    const { pass, flipRate } = options;
    this.#model = model;
    this.#pass = pass;
    const copies: { of: Tensor; to: Tensor }[] = [];
    this.#matrices = model.blocks.flatMap(projectionsOf).flatMap((projection) => {
      const { ternary } = projection;
      const copy = flipRate
        ? this.#arena.tensor(`${ternary.name}.previous`, "int8", ternary.shape)
        : null;
      if (copy !== null) copies.push({ of: ternary, to: copy });
      let row = 0;
      return projection.matrices().map((matrix) => {
        const from = row;
        row += matrix.q.shape[0]!;
        return { ...matrix, previous: copy?.rows(from, row) ?? null };
      });
    });
    this.#copies = copies;
    const inputs = model.blocks.length * INPUTS.length;
    const count = this.#matrices.length;
    this.#counts = this.#arena.tensor("counts", "int64", [count, TERNARY_COUNTS]);
    this.#betas = this.#arena.tensor("betas", "float32", [count]);
    this.#inputCounts = this.#arena.tensor("input.counts", "int64", [inputs, QUANTIZED_COUNTS]);
    this.#inputScales = this.#arena.tensor("input.scales", "float32", [inputs, 2]);
  }

  /** Bytes of device memory planned. */
  get bytes(): number {
    return this.#arena.bytes;
  }

  /** Takes the planned memory. */
  commit(device: Device): this {
    this.#arena.commit(device);
    return this;
  }

  /** Forgets the ternary values of the last count: the next one tells no flips. */
  forget(): void {
    this.#copiedAt = null;
  }

  /**
   * Counts after step `step`, the inputs those of the pass's last micro-batch. Waits for the device. Flips are told from the second
   * call on.
   */
  collect(step: number): TernaryRecord {
    const started = performance.now();
    const since = this.#copiedAt;
    this.#queueWeights({ flips: since !== null });
    this.#pass.showBlocks((memory, layer) => this.#queueInputs(memory, layer));
    const counts = integers(this.#counts);
    const inputCounts = integers(this.#inputCounts);
    const betas = [...this.#betas.toFloat32Array()];
    const scales = this.#inputScales.toFloat32Array();
    if (this.#copies.length > 0) this.#copiedAt = step;

    const sizes = this.#matrices.map(({ q }) => q.length);
    const all = sizes.reduce((sum, size) => sum + size, 0);
    const column = (index: number) => sizes.map((_, row) => counts[TERNARY_COUNTS * row + index]!);
    const shares = (index: number) => column(index).map((count, row) => round(count / sizes[row]!));
    const shareOfAll = (index: number) =>
      round(column(index).reduce((sum, count) => sum + count, 0) / all);

    const inputSizes = this.#model.blocks.flatMap(({ attention, feedForward }) =>
      [attention.qkv, attention.output, feedForward.gateUp, feedForward.down]
        .map(({ inFeatures }) => inFeatures * this.#pass.memory.rows)
    );
    const inputShares = (index: number) =>
      inputSizes.map((size, row) => round(inputCounts[QUANTIZED_COUNTS * row + index]! / size));
    // s = gamma / 127, or mu / sqrt(7)
    const levels = this.#model.config.activationQuant === "absmax" ? 127 : Math.sqrt(7);
    const gammas = (index: number) =>
      inputSizes.map((_, row) => round(scales[2 * row + index]! * levels));

    return {
      type: "ternary",
      step,
      layers: this.#model.blocks.length,
      matrices: MATRICES,
      inputs: INPUTS,
      zero_share: shareOfAll(1),
      flip_rate: since === null ? null : shareOfAll(3),
      flip_steps: since === null ? null : step - since,
      minus: shares(0),
      zero: shares(1),
      plus: shares(2),
      flipped: since === null ? null : shares(3),
      beta: betas.map(round),
      near: shares(4),
      gamma_mean: gammas(0),
      gamma_max: gammas(1),
      input_zero: inputShares(0),
      input_clipped: inputShares(1),
      collect_ms: round(performance.now() - started),
    };
  }

  [Symbol.dispose](): void {
    this.#arena[Symbol.dispose]();
  }

  /** Counts the weights as they are now, and keeps their ternary values for the next time. */
  #queueWeights({ flips }: { flips: boolean }): void {
    this.#model.prepare();
    for (const [index, { w, q, scale, previous }] of this.#matrices.entries()) {
      const counts = this.#counts.view([TERNARY_COUNTS], { offset: TERNARY_COUNTS * index });
      const compared = flips ? previous : null;
      ternaryStatistics({ w, q, scale, previous: compared, margin: NEAR_MARGIN, counts });
      this.#betas.rows(index, index + 1).copyFrom(scale.rows(0, 1));
    }
    for (const { of, to } of this.#copies) to.copyFrom(of);
  }

  #queueInputs({ attention, feedForward }: BlockMemory, layer: number): void {
    const inputs = [attention.input, attention.output, feedForward.input, feedForward.down];
    for (const [place, input] of inputs.entries()) {
      const index = layer * INPUTS.length + place;
      quantizedStatistics({
        ...quantized(input),
        quantizer: this.#model.config.activationQuant,
        counts: this.#inputCounts.view([QUANTIZED_COUNTS], { offset: QUANTIZED_COUNTS * index }),
        scales: this.#inputScales.view([2], { offset: 2 * index }),
      });
    }
  }
}

/** The projections of a block in the order of {@linkcode MATRICES}. */
function projectionsOf({ attention, feedForward }: Block): BitLinear[] {
  return [attention.qkv, attention.output, feedForward.gateUp, feedForward.down].map(
    (projection) => {
      if (projection instanceof BitLinear) return projection;
      throw new TypeError(
        `Cannot count ternary weights as every projection must be a BitLinear: current one is a ${projection.constructor.name}`,
      );
    },
  );
}

function quantized({ q, scale }: ProjectionInput): { q: Tensor; scale: Tensor } {
  if (q === null || scale === null) {
    throw new TypeError("Cannot count a projection's input as it must be quantised: it is not");
  }
  return { q, scale };
}

function integers(tensor: Tensor): number[] {
  return Array.from(tensor.download(new BigInt64Array(tensor.length)), Number);
}

/** A number of 6 digits: what a record tells. */
function round(value: number): number {
  return Number(value.toPrecision(6));
}
