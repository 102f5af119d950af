/**
 * Packed models of given shapes with random weights, to measure how fast they run.
 *
 * @module
 */

import type { Device } from "../ffi/device.ts";
import { createHead, type HeadWeights } from "../inference/load_model.ts";
import { PackedBitLinear, WeightPacker } from "../inference/packed_linear.ts";
import { BitNetConfig, type BitNetConfigOptions } from "../model/config.ts";
import { presetOptions } from "../model/presets.ts";
import { BitNetTransformer } from "../model/transformer.ts";

/** Shapes by name: vocabulary 32,000, tied head. */
export const DECODE_SHAPES = {
  "1.3B": presetOptions("1.3B"),
  small: { hiddenSize: 768, numLayers: 12, numHeads: 12, numKvHeads: 12, intermediateSize: 2048 },
} as const satisfies Record<string, BitNetConfigOptions>;

export type DecodeSize = keyof typeof DECODE_SHAPES;

/** A packed model and its projections. */
export interface PackedModel {
  readonly model: BitNetTransformer;
  readonly projections: readonly PackedBitLinear[];
}

/** The config of a named shape. */
export function decodeConfig(
  size: DecodeSize,
  options: Partial<BitNetConfigOptions> = {},
): BitNetConfig {
  return new BitNetConfig({ vocabSize: 32000, ...DECODE_SHAPES[size], ...options });
}

/** A packed model whose ternary weights are random; the rest is initialised from a seed. */
export function randomPackedModel(
  device: Device,
  config: BitNetConfig,
  head: HeadWeights,
): PackedModel {
  const { model, projections } = emptyPackedModel(device, config, head);
  // Every byte of four codes from 0 to 2, about as often.
  const bytes = Uint8Array.from({ length: 81 }, (_, i) => {
    const digit = (place: number) => Math.floor(i / 3 ** place) % 3;
    return digit(0) | digit(1) << 2 | digit(2) << 4 | digit(3) << 6;
  });
  let state = 1;
  for (const { packed, scale } of projections.flatMap(({ weights }) => weights)) {
    const codes = new Uint8Array(packed.bytes);
    for (let i = 0; i < codes.length; i++) {
      state = Math.imul(state, 1664525) + 1013904223 | 0;
      codes[i] = bytes[(state >>> 8) % 81]!;
    }
    packed.upload(codes);
    scale.upload(new Float32Array(scale.length).fill(0.02));
  }
  return { model, projections };
}

/**
 * Throws `Error` unless a model of one block gives the same logits to the last bit from latent and from packed weights, for one
 * token and for several.
 */
export function checkPacked(device: Device, size: DecodeSize): void {
  const config = decodeConfig(size, { numLayers: 1, vocabSize: 512 });
  using trained = BitNetTransformer.create(config, { device, training: false, seed: 5 });
  const { model, projections } = emptyPackedModel(device, config, "float32");
  using packed = model;
  const weights = projections.flatMap((projection) => projection.weights);
  using packer = new WeightPacker(device, weights);
  const values = new Map(trained.parameters.all.map(({ name, value }) => [name, value]));
  for (const weight of weights) {
    const latent = values.get(weight.name)!.toFloat32Array();
    packer.sink(weight).write(new Uint8Array(latent.buffer), 0);
  }
  for (const { name, value } of packed.parameters.all) value.copyFrom(values.get(name)!);
  packed.parametersChanged();
  for (const tokens of [1, 9]) {
    const ids = Array.from({ length: tokens }, (_, i) => (i * 37) % config.vocabSize);
    const expected = new Uint32Array(trained.forward(ids).logits.slice().buffer);
    const actual = new Uint32Array(packed.forward(ids).logits.slice().buffer);
    const at = actual.findIndex((bits, i) => bits !== expected[i]);
    if (at >= 0) {
      throw new Error(
        `Logit ${at} of ${tokens} tokens of shape ${size} differs between packed and latent weights`,
      );
    }
  }
}

function emptyPackedModel(device: Device, config: BitNetConfig, head: HeadWeights): PackedModel {
  const projections: PackedBitLinear[] = [];
  const model = BitNetTransformer.create(config, {
    device,
    training: false,
    seed: 1,
    layers: {
      projection(spec) {
        const projection = new PackedBitLinear(spec);
        projections.push(projection);
        return projection;
      },
      head: (context, embedding) => createHead(head, context, embedding),
    },
  });
  return { model, projections };
}
