/**
 * What packing saves, read from planned buffers.
 *
 * @module
 */

import type { BitNetConfig } from "../model/config.ts";
import { BitNetTransformer } from "../model/transformer.ts";
import { PackedBitLinear } from "./packed_linear.ts";

/** Bytes of a model's projections; keys carry their units. */
export interface PackedProjections {
  /** Of the latent float32 weights that training keeps. */
  readonly float32_bytes: number;
  /** Of the 2-bit weights that take their place. */
  readonly packed_bytes: number;
  /** Of the factors beside them, a float32 a row. */
  readonly scale_bytes: number;
  /** float32_bytes over packed_bytes: 16 where rows are whole words of 16 weights. */
  readonly float32_to_packed: number;
}

/** Plans both forms of a model, without taking memory, and adds up their buffers; null where no projection is ternary. */
export function measurePackedProjections(config: BitNetConfig): PackedProjections | null {
  if (config.quantization !== "ternary") return null;
  const projections: PackedBitLinear[] = [];
  new BitNetTransformer(config, {
    training: false,
    layers: {
      projection(spec) {
        const projection = new PackedBitLinear(spec);
        projections.push(projection);
        return projection;
      },
    },
  });
  const weights = projections.flatMap((projection) => projection.weights);
  const latent = new BitNetTransformer(config, { training: false });
  const latentBytes = new Map(latent.parameters.all.map(({ name, value }) => [name, value.bytes]));
  const sum = (of: (weight: typeof weights[number]) => number) =>
    weights.reduce((total, weight) => total + of(weight), 0);
  const float32 = sum(({ name }) => latentBytes.get(name)!);
  const packed = sum((weight) => weight.packed.bytes);
  return {
    float32_bytes: float32,
    packed_bytes: packed,
    scale_bytes: sum((weight) => weight.scale.bytes),
    float32_to_packed: float32 / packed,
  };
}
