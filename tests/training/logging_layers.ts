/** BitNet's projections, whose own metrics are a tensor's, a function's and a number's. */

import { BitLinear, type Layers, norm, type ProjectionSpec, type Tensor } from "../../mod.ts";

let asked = 0;
let prepared = 0;

class LoggingBitLinear extends BitLinear {
  readonly #norm: Tensor;
  readonly #log: () => void;

  constructor(spec: ProjectionSpec) {
    super(spec);
    const name = spec.parts[0]!.name;
    this.#norm = spec.derived.tensor(`${name}.norm`, "float32", [1]);
    const isFirst = name === "model.layers.0.self_attn.q_proj";
    this.#log = () => {
      spec.log({ [`${name}.norm`]: this.#norm });
      if (isFirst) spec.log({ asked: () => ++asked, prepared: ++prepared, broken: NaN });
    };
  }

  override prepare(): void {
    super.prepare();
    norm({ x: this.weight.value, out: this.#norm });
    this.#log();
  }
}

export const layers: Partial<Layers> = { projection: (spec) => new LoggingBitLinear(spec) };
