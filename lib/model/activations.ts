/**
 * Memory of one forward and backward pass: what the layers save for the backward pass, and scratch that they share.
 *
 * @module
 */

import type { Device } from "../ffi/device.ts";
import { Arena } from "../tensor/arena.ts";
import type { DType } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { BitNetConfig } from "./config.ts";

/**
 * What the forward pass does not keep and the backward pass computes again, to the same bits: `mlp` the wide tensors of the
 * feed-forward layers, `block` everything of a block but its output (Chen et al., arXiv:1604.06174).
 */
export type Recompute = "none" | "mlp" | "block";

/** Shape and purpose of a pass. */
export interface PassShape {
  /** B: sequences. */
  readonly sequences: number;
  /** T: tokens of each sequence. */
  readonly tokens: number;
  /** Whether a backward pass follows. */
  readonly training: boolean;
  /** @default "none" */
  readonly recompute?: Recompute;
}

/**
 * The input of a projection: normalised, and quantised where the projection is ternary.
 *
 * Ternary: `q` (N, K) int8 and `scale` (N) float32, x ~ q · scale. Otherwise `y` (N, K) in the activation dtype.
 */
export interface ProjectionInput {
  readonly q: Tensor | null;
  readonly scale: Tensor | null;
  readonly y: Tensor | null;
}

/** Plans the tensors of a pass; layers ask it for what they save and for scratch. */
export class PassMemory implements Disposable {
  readonly sequences: number;
  readonly tokens: number;
  readonly training: boolean;
  /** Dtype of activations and of the gradients between ops. */
  readonly dtype: DType;
  readonly recompute: Recompute;
  readonly #quantized: boolean;
  readonly #saved = new Arena("activations");
  /** Where layers save what only one of them needs at a time. */
  readonly #shared = new Arena("activations of one layer");
  readonly #scratch = new Arena("workspace");
  #inSharedLayer = false;

  constructor(config: BitNetConfig, shape: PassShape, dtype: DType) {
    this.sequences = shape.sequences;
    this.tokens = shape.tokens;
    this.training = shape.training;
    this.dtype = dtype;
    this.recompute = shape.recompute ?? "none";
    this.#quantized = config.quantization === "ternary";
  }

  /** N: rows of every activation matrix. */
  get rows(): number {
    return this.sequences * this.tokens;
  }

  /** Bytes planned: what is saved, and the shared scratch. */
  get bytes(): { activations: number; workspace: number } {
    return {
      activations: this.#saved.bytes + this.#shared.bytes,
      workspace: this.#scratch.bytes,
    };
  }

  /** A tensor that lives until the backward pass has used it. */
  saved(name: string, shape: readonly number[], dtype: DType = this.dtype): Tensor {
    const arena = this.#inSharedLayer ? this.#shared : this.#saved;
    return arena.tensor(name, dtype, shape);
  }

  /** A tensor that only its layer's forward or backward uses; see {@linkcode PassMemory.scratchScope}. */
  scratch(name: string, shape: readonly number[], dtype: DType = this.dtype): Tensor {
    return this.#scratch.tensor(name, dtype, shape);
  }

  /** The input of a projection of width `width`: saved, or scratch where it is computed again. */
  projectionInput(
    name: string,
    width: number,
    options: { recomputed?: boolean } = {},
  ): ProjectionInput {
    const tensor = (suffix: string, shape: readonly number[], dtype: DType = this.dtype) =>
      options.recomputed
        ? this.scratch(`${name}.${suffix}`, shape, dtype)
        : this.saved(`${name}.${suffix}`, shape, dtype);
    if (this.#quantized) {
      return {
        q: tensor("q", [this.rows, width], "int8"),
        scale: tensor("scale", [this.rows], "float32"),
        y: null,
      };
    }
    return { q: null, scale: null, y: tensor("y", [this.rows, width]) };
  }

  /**
   * Plans the layers of one block. What they save shares its memory with the other blocks' where no backward pass follows, or
   * where that computes it again.
   */
  layer<Planned>(plan: () => Planned): Planned {
    if (this.training && this.recompute !== "block") return plan();
    this.#inSharedLayer = true;
    try {
      return this.#shared.scope(plan);
    } finally {
      this.#inSharedLayer = false;
    }
  }

  /** Plans a layer whose scratch shares its memory with every other layer's. */
  scratchScope<Planned>(plan: () => Planned): Planned {
    return this.#scratch.scope(plan);
  }

  /** Takes the memory on a device. */
  commit(device: Device): void {
    this.#saved.commit(device);
    this.#shared.commit(device);
    this.#scratch.commit(device);
  }

  [Symbol.dispose](): void {
    this.#saved[Symbol.dispose]();
    this.#shared[Symbol.dispose]();
    this.#scratch[Symbol.dispose]();
  }
}
