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

/** Shape and purpose of a pass. */
export interface PassShape {
  /** B: sequences. */
  readonly sequences: number;
  /** T: tokens of each sequence. */
  readonly tokens: number;
  /** Whether a backward pass follows. */
  readonly training: boolean;
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
  readonly #quantized: boolean;
  readonly #saved = new Arena("activations");
  readonly #scratch = new Arena("workspace");

  constructor(config: BitNetConfig, shape: PassShape, dtype: DType) {
    this.sequences = shape.sequences;
    this.tokens = shape.tokens;
    this.training = shape.training;
    this.dtype = dtype;
    this.#quantized = config.quantization === "ternary";
  }

  /** N: rows of every activation matrix. */
  get rows(): number {
    return this.sequences * this.tokens;
  }

  /** Bytes planned: what is saved, and the shared scratch. */
  get bytes(): { activations: number; workspace: number } {
    return { activations: this.#saved.bytes, workspace: this.#scratch.bytes };
  }

  /** A tensor that lives until the backward pass has used it. */
  saved(name: string, shape: readonly number[], dtype: DType = this.dtype): Tensor {
    return this.#saved.tensor(name, dtype, shape);
  }

  /** A tensor that only its layer's forward or backward uses; see {@linkcode PassMemory.scratchScope}. */
  scratch(name: string, shape: readonly number[], dtype: DType = this.dtype): Tensor {
    return this.#scratch.tensor(name, dtype, shape);
  }

  /** The input of a projection of width `width`, saved. */
  projectionInput(name: string, width: number): ProjectionInput {
    if (this.#quantized) {
      return {
        q: this.saved(`${name}.q`, [this.rows, width], "int8"),
        scale: this.saved(`${name}.scale`, [this.rows], "float32"),
        y: null,
      };
    }
    return { q: null, scale: null, y: this.saved(`${name}.y`, [this.rows, width]) };
  }

  /** Plans one block: what it saves shares its memory with the other blocks where no backward pass follows. */
  layer<Planned>(plan: () => Planned): Planned {
    return this.training ? plan() : this.#saved.scope(plan);
  }

  /** Plans a layer whose scratch shares its memory with every other layer's. */
  scratchScope<Planned>(plan: () => Planned): Planned {
    return this.#scratch.scope(plan);
  }

  /** Takes the memory on a device. */
  commit(device: Device): void {
    this.#saved.commit(device);
    this.#scratch.commit(device);
  }

  [Symbol.dispose](): void {
    this.#saved[Symbol.dispose]();
    this.#scratch[Symbol.dispose]();
  }
}
