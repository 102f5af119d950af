/**
 * The head of a finished model with 8-bit weights: a quarter of the bytes that a token reads of it.
 *
 * @module
 */

import { gemmInt8 } from "../kernels/gemm_int8.ts";
import { Head } from "../model/head.ts";
import type { LayerContext } from "../model/layers.ts";
import type { StackedParameter } from "../model/parameters.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Bytes of the weight that are quantised at a time. */
const CHUNK_BYTES = 4 << 20;

/**
 * logits = (Q(x) · W8ᵀ) · s_x · s, each row of W8 (V, D) int8 with a factor of its own, s (V). Tokens are quantised as a ternary
 * projection's are (absmax). The loss is the float32 weight's.
 */
export class Int8Head extends Head {
  readonly #quantized: Tensor; // (V, D)
  readonly #scale: Tensor; // (V)

  constructor(context: LayerContext, embedding: StackedParameter) {
    super(context, embedding);
    const { vocabSize, hiddenSize } = context.config;
    this.#quantized = context.derived.tensor("lm_head.int8", "int8", [vocabSize, hiddenSize]);
    this.#scale = context.derived.tensor("lm_head.int8.scale", "float32", [vocabSize]);
  }

  /** Bytes that the logits of a token read. */
  get bytes(): number {
    return this.#quantized.bytes + this.#scale.bytes;
  }

  override prepare(): void {
    super.prepare();
    const [rows, columns] = this.#quantized.shape as [number, number];
    const atOnce = Math.max(1, Math.floor(CHUNK_BYTES / (4 * columns)));
    for (let from = 0; from < rows; from += atOnce) {
      const to = Math.min(rows, from + atOnce);
      const weight = this.weight.value.rows(from, to).toFloat32Array();
      const { q, scale } = quantizeRows(weight, columns);
      this.#quantized.rows(from, to).upload(q);
      this.#scale.rows(from, to).upload(scale);
    }
  }

  override logits(x: Tensor, logits: Tensor): void {
    gemmInt8({ x, w: this.#quantized, wScale: this.#scale, y: logits });
  }
}

/**
 * Rows of float32 as integers from -127 to 127 and a factor a row: γ = max(max|w|, 1e-30), q = round(w · (127 / γ)) half to even,
 * scale = γ / 127; every operation rounded to float32.
 */
export function quantizeRows(
  weight: Float32Array<ArrayBuffer>,
  columns: number,
): { q: Int8Array<ArrayBuffer>; scale: Float32Array<ArrayBuffer> } {
  const q = new Int8Array(weight.length);
  const scale = new Float32Array(weight.length / columns);
  const { fround, abs } = Math;
  const shifter = 1.5 * 2 ** 23; // adding it leaves the nearest even integer in a float32's last places
  for (let row = 0; row < scale.length; row++) {
    const start = row * columns;
    let largest = 1e-30;
    for (let i = start; i < start + columns; i++) {
      const size = abs(weight[i]!);
      if (!(size <= largest)) largest = size; // NaN stays
    }
    const factor = fround(127 / fround(largest));
    for (let i = start; i < start + columns; i++) {
      q[i] = fround(fround(weight[i]! * factor) + shifter) - shifter;
    }
    scale[row] = fround(largest) / 127;
  }
  return { q, scale };
}
