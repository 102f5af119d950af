/**
 * A weight that is not ternary, in the dtype that passes compute in.
 *
 * @module
 */

import { cast } from "../kernels/cast.ts";
import type { Arena } from "../tensor/arena.ts";
import type { DType } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { StackedParameter } from "./parameters.ts";

/** The latent float32 weight itself where passes compute in float32, else a copy rounded to their dtype. */
export class ComputeWeight {
  readonly #weight: StackedParameter;
  readonly #copy: Tensor | null;

  /** Plans the copy in `derived`; `name` and `shape` are the weight's. */
  constructor(
    weight: StackedParameter,
    options: { derived: Arena; dtype: DType; name: string; shape: readonly number[] },
  ) {
    const { derived, dtype, name, shape } = options;
    this.#weight = weight;
    this.#copy = dtype === "float32" ? null : derived.tensor(`${name}.${dtype}`, dtype, shape);
  }

  /** The weight as products take it; valid after {@linkcode ComputeWeight.prepare}. */
  get value(): Tensor {
    return this.#copy ?? this.#weight.value;
  }

  /** Rounds the latent weight anew, once after every change of it. */
  prepare(): void {
    if (this.#copy !== null) cast({ from: this.#weight.value, to: this.#copy });
  }
}
