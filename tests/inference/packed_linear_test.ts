import { assertEquals, assertThrows } from "@std/assert";
import {
  PackedBitLinear,
  type PackedWeight,
  WeightPacker,
} from "../../lib/inference/packed_linear.ts";
import { loadModel } from "../../lib/inference/load_model.ts";
import { BitNetTransformer } from "../../lib/model/transformer.ts";
import { assertSameBits } from "../support/compare.ts";
import { openCpu } from "../support/devices.ts";
import { withRandom } from "../support/random.ts";
import { saveModel, tinyConfig, withFolder } from "./support.ts";

/** A model of packed projections whose weights have not arrived. */
function packedModel() {
  const weights: PackedWeight[] = [];
  const device = openCpu();
  const model = BitNetTransformer.create(tinyConfig(), {
    device,
    training: false,
    seed: null,
    layers: {
      projection(spec) {
        const projection = new PackedBitLinear(spec);
        weights.push(...projection.weights);
        return projection;
      },
    },
  });
  return {
    model,
    weights,
    [Symbol.dispose]() {
      model[Symbol.dispose]();
      device[Symbol.dispose]();
    },
  };
}

for (const isa of ["portable", undefined] as const) {
  const where = isa ?? "the machine's best instructions";
  Deno.test(`PackedBitLinear gives BitLinear's bits for 1 to 40 tokens when it runs on ${where}`, () =>
    withFolder(async (folder) => {
      using device = openCpu(isa === undefined ? {} : { isa });
      // Widths that end inside a word of 16 values.
      const config = tinyConfig({ hiddenSize: 36, numHeads: 6, intermediateSize: 43 });
      using trained = BitNetTransformer.create(config, { device, training: false, seed: 5 });
      const path = await saveModel(folder, trained);
      using packed = await loadModel(path, { device });
      using unpacked = await loadModel(path, { device, packed: false });
      for (const tokens of [1, 2, 7, 8, 9, 40]) {
        const ids = Array.from({ length: tokens }, (_, i) => (17 * i + tokens) % 101);
        const expected = unpacked.model.forward(ids).logits;
        assertSameBits({
          name: `logits of ${tokens} tokens`,
          actual: packed.model.forward(ids).logits,
          expected,
        });
        const trainedLogits = trained.forward(ids).logits;
        assertSameBits({
          name: "the saved model's logits",
          actual: expected,
          expected: trainedLogits,
        });
      }
    }));
}

Deno.test("PackedBitLinear declares no parameters when a model is made of it", () => {
  using made = packedModel();
  const groups = made.model.parameters.groups.map(({ group }) => group);
  assertEquals(groups, ["embeddings", "norms"]);
});

Deno.test("PackedBitLinear refuses a backward pass when it is asked for one", () => {
  using made = packedModel();
  const projection = made.model.blocks[0]!.attention.qkv as PackedBitLinear;
  assertThrows(() => projection.backward(), TypeError, "packed: false");
});

Deno.test(
  "WeightPacker packs a matrix the same when its bytes come in pieces",
  withRandom((random) => {
    using made = packedModel();
    const { weights, model } = made;
    using packer = new WeightPacker(model.device, weights);
    const weight = weights[0]!;
    const bytes = new Uint8Array(random.normals(weight.outFeatures * weight.inFeatures).buffer);
    packer.sink(weight).write(bytes, 0);
    const whole = weight.packed.download(new Int32Array(weight.packed.length));
    weight.packed.zero();
    const sink = packer.sink(weight);
    for (let at = 0; at < bytes.length; at += 100) sink.write(bytes.slice(at, at + 100), at);
    const pieces = weight.packed.download(new Int32Array(weight.packed.length));
    assertEquals(pieces, whole);
  }),
);

Deno.test("WeightPacker names both matrices when one arrives before the other is whole", () => {
  using made = packedModel();
  const { weights, model } = made;
  using packer = new WeightPacker(model.device, weights);
  packer.sink(weights[0]!).write(new Uint8Array(8), 0);
  assertThrows(
    () => packer.sink(weights[1]!).write(new Uint8Array(8), 0),
    RangeError,
    `before ${weights[0]!.name} was whole`,
  );
});

Deno.test("WeightPacker refuses bytes when they skip some", () => {
  using made = packedModel();
  const { weights, model } = made;
  using packer = new WeightPacker(model.device, weights);
  const sink = packer.sink(weights[0]!);
  sink.write(new Uint8Array(8), 0);
  assertThrows(() => sink.write(new Uint8Array(8), 16), RangeError, "byte 16 after 8");
});

Deno.test("WeightPacker counts the matrices that are left when some have arrived", () => {
  using made = packedModel();
  const { weights, model } = made;
  using packer = new WeightPacker(model.device, weights);
  const { outFeatures, inFeatures } = weights[0]!;
  packer.sink(weights[0]!).write(new Uint8Array(4 * outFeatures * inFeatures), 0);
  assertEquals(packer.left, weights.length - 1);
});
