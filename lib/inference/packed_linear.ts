/**
 * BitLinear for running a finished model: its weights are 2-bit values and nothing else is kept of them.
 *
 * @module
 */

import { gemmTernaryPackedForward } from "../kernels/gemm_ternary.ts";
import { packedWidth, packTernary } from "../kernels/pack_ternary.ts";
import { quantizeWeight } from "../kernels/quantize_weight.ts";
import type { Device } from "../ffi/device.ts";
import type { TensorSink } from "../interop/safetensors.ts";
import type { ProjectionInput } from "../model/activations.ts";
import type { Projection, ProjectionSpec } from "../model/projection.ts";
import { Arena } from "../tensor/arena.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** One matrix of a {@linkcode PackedBitLinear}, to be filled by a {@linkcode WeightPacker}. */
export interface PackedWeight {
  /** The latent weight's name in checkpoints. */
  readonly name: string;
  readonly outFeatures: number;
  readonly inFeatures: number;
  /** (out, ceil(in / 16)) int32, 2 bits a value. */
  readonly packed: Tensor;
  /** (out) float32: β of the matrix. */
  readonly scale: Tensor;
}

/**
 * y = (Q(x) · T(W)ᵀ) · x_scale · β as `BitLinear` computes it, to the last bit, from a sixteenth of the latent weight's memory.
 *
 * It declares no parameters, so a model made of it has room for embeddings and norms only. It cannot be trained.
 */
export class PackedBitLinear implements Projection {
  readonly outFeatures: number;
  readonly inFeatures: number;
  /** The stacked matrices, in order. */
  readonly weights: readonly PackedWeight[];
  readonly #packed: Tensor; // (out, ceil(in / 16))
  readonly #scale: Tensor; // (out)

  constructor(spec: ProjectionSpec) {
    const { parts, inFeatures } = spec;
    this.inFeatures = inFeatures;
    this.outFeatures = parts.reduce((sum, part) => sum + part.outFeatures, 0);
    const name = parts.map((part) => part.name).join(" + ");
    this.#packed = spec.derived.tensor(`${name}.packed`, "int32", [
      this.outFeatures,
      packedWidth(inFeatures),
    ]);
    this.#scale = spec.derived.tensor(`${name}.scale`, "float32", [this.outFeatures]);
    let row = 0;
    this.weights = parts.map((part) => {
      const end = row + part.outFeatures;
      const weight = {
        name: `${part.name}.weight`,
        outFeatures: part.outFeatures,
        inFeatures,
        packed: this.#packed.rows(row, end, `${part.name}.packed`),
        scale: this.#scale.rows(row, end, `${part.name}.scale`),
      };
      row = end;
      return weight;
    });
  }

  /** Nothing to derive: the weights were packed as they were loaded. */
  prepare(): void {}

  forward(x: ProjectionInput, y: Tensor, residual?: Tensor): void {
    if (x.q === null || x.scale === null) {
      throw new TypeError(
        "Cannot run PackedBitLinear as its input must be quantised: give q and scale",
      );
    }
    gemmTernaryPackedForward({
      x: x.q,
      xScale: x.scale,
      packed: this.#packed,
      wScale: this.#scale,
      residual: residual ?? null,
      y,
    });
  }

  backward(): never {
    throw new TypeError(
      "Cannot train a packed model as its latent weights were not kept: load it with packed: false",
    );
  }
}

/** Quantises and packs latent weights as they arrive, one matrix at a time: only the largest is ever whole in memory. */
export class WeightPacker implements Disposable {
  readonly #arena = new Arena("staging of weights to pack");
  readonly #latent: Tensor; // room for the largest matrix, float32
  readonly #ternary: Tensor; // the same, int8
  #current: { readonly weight: PackedWeight; bytes: number } | null = null;
  #left: number;

  /** Takes memory for the largest of `weights` on the device. */
  constructor(device: Device, weights: readonly PackedWeight[]) {
    const largest = Math.max(1, ...weights.map((w) => w.outFeatures * w.inFeatures));
    this.#latent = this.#arena.tensor("latent", "float32", [largest]);
    this.#ternary = this.#arena.tensor("ternary", "int8", [largest]);
    this.#arena.commit(device);
    this.#left = weights.length;
  }

  /** Matrices that have not arrived whole. */
  get left(): number {
    return this.#left;
  }

  /** Takes a latent weight's float32 bytes from first to last, and packs it with the last one. */
  sink(weight: PackedWeight): TensorSink {
    return {
      name: weight.name,
      shape: [weight.outFeatures, weight.inFeatures],
      dtype: "F32",
      write: (from, byteOffset) => this.#take(weight, from, byteOffset),
    };
  }

  [Symbol.dispose](): void {
    this.#arena[Symbol.dispose]();
  }

  #take(weight: PackedWeight, from: Uint8Array, byteOffset: number): void {
    const arrived = this.#current?.weight === weight ? this.#current.bytes : 0;
    const interrupts = this.#current !== null && this.#current.weight !== weight;
    if (interrupts || byteOffset !== arrived) {
      throw new RangeError(
        `Cannot pack ${weight.name} as matrices must arrive one after the other, each from its first byte on: ` +
          `current value is byte ${byteOffset} after ${arrived}` +
          (interrupts ? `, before ${this.#current!.weight.name} was whole` : ""),
      );
    }
    const device = this.#latent.device;
    device.upload(this.#latent.address + BigInt(byteOffset), from as Uint8Array<ArrayBuffer>);
    const bytes = byteOffset + from.byteLength;
    const shape = [weight.outFeatures, weight.inFeatures];
    const latent = this.#latent.view(shape, { name: weight.name });
    if (bytes < latent.bytes) {
      this.#current = { weight, bytes };
      return;
    }
    this.#current = null;
    const ternary = this.#ternary.view(shape, { name: `${weight.name}.ternary` });
    quantizeWeight({ w: latent, q: ternary, scale: weight.scale });
    packTernary({ q: ternary, packed: weight.packed });
    this.#left--;
  }
}
