/** Projections with a factor that is learned, as docs/research.md has them. */

import {
  type BackwardOptions,
  BitLinear,
  type Layers,
  type ProjectionInput,
  type ProjectionSpec,
  type StackedParameter,
  type Tensor,
} from "../../mod.ts";

/** y = s · BitLinear(x). */
export class ScaledBitLinear extends BitLinear {
  readonly factor: StackedParameter; // s
  #beta = new Float32Array(0); // of each row

  constructor(spec: ProjectionSpec) {
    super(spec);
    this.factor = spec.parameters.declare({
      group: "scales",
      parts: [{ name: `${spec.parts[0]!.name}.scale`, shape: [1] }],
      initial: 1,
    });
  }

  override prepare(): void {
    super.prepare();
    const [s] = this.factor.value.toFloat32Array();
    this.#beta = this.scale.toFloat32Array();
    this.scale.upload(this.#beta.map((beta) => s! * beta)); // forward and dx take it from here
  }

  override backward(x: ProjectionInput, dy: Tensor, dx: Tensor, options: BackwardOptions): void {
    const before = options.accumulate ? this.#alongWeight() : 0;
    super.backward(x, dy, dx, options);
    const [ds] = this.factor.grad.toFloat32Array();
    this.factor.grad.upload(Float32Array.of(ds! + this.#alongWeight() - before));
  }

  /** sum of dW · β T(W), which is ds, as dW = dyᵀ x and y = s x (β T(W))ᵀ. */
  #alongWeight(): number {
    const dw = this.weight.grad.toFloat32Array();
    const ternary = this.ternary.download(new Int8Array(dw.length));
    return dw.reduce(
      (sum, value, i) => sum + value * ternary[i]! * this.#beta[Math.floor(i / this.inFeatures)]!,
      0,
    );
  }
}

export const layers: Partial<Layers> = { projection: (spec) => new ScaledBitLinear(spec) };
