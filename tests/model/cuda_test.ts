/** The whole network on the card, in bfloat16 as it trains and in float32 as the CPU build has it. */

import { assert, assertEquals, assertLess } from "@std/assert";
import type { Device } from "../../lib/ffi/device.ts";
import { Graph } from "../../lib/ffi/graph.ts";
import { BitNetConfig, type BitNetConfigOptions } from "../../lib/model/config.ts";
import { BitNetTransformer } from "../../lib/model/transformer.ts";
import { AdamW } from "../../lib/optim/adamw.ts";
import type { ActivationDType } from "../../lib/tensor/dtype.ts";
import { assertSameBits } from "../support/compare.ts";
import { cudaTest, openCpu } from "../support/devices.ts";
import { Random } from "../support/random.ts";
import { floatsOf } from "../support/sentinel.ts";

const SMALL: BitNetConfigOptions = {
  vocabSize: 200,
  hiddenSize: 128,
  numLayers: 2,
  numHeads: 2,
  numKvHeads: 1,
  intermediateSize: 192,
  initStd: 0.05,
};

const KINDS: Record<string, Partial<BitNetConfigOptions>> = {
  "ternary": {},
  "absmean, squared ReLU, tied": {
    activationQuant: "absmean",
    hiddenAct: "relu2",
    tieEmbeddings: true,
  },
  "not quantised": { quantization: "none" },
};

function create(
  device: Device,
  options: Partial<BitNetConfigOptions>,
  dtype: ActivationDType,
  gradientDtype: ActivationDType = "float32",
): BitNetTransformer {
  return BitNetTransformer.create(new BitNetConfig({ ...SMALL, ...options }), {
    device,
    dtype,
    gradientDtype,
    seed: 3,
  });
}

function idsOf(random: Random): Int32Array[] {
  return Array.from({ length: 3 }, () => random.int32s(70, 0, 199));
}

/** Loss, and the gradients of all parameters by name. */
function gradientsOf(model: BitNetTransformer, ids: Int32Array[]) {
  model.parameters.zeroGradients();
  const { loss } = model.forward(ids, { labels: ids });
  model.backward();
  const gradients = model.parameters.all.map(({ name, grad }) => [name, floatsOf(grad!)] as const);
  return { loss: loss!, gradients };
}

/** |actual - expected| over |expected|, in the Euclidean norm. */
function distance(actual: Float32Array, expected: Float32Array): number {
  let error = 0, size = 0;
  expected.forEach((value, i) => {
    error += (actual[i]! - value) ** 2;
    size += value ** 2;
  });
  return Math.sqrt(error / size);
}

/** Scales each value of embedding and norms by up to 1 ± 2^-8, as the roundings of some ops after each other would. */
function disturb(model: BitNetTransformer, random: Random): void {
  for (const { name, value } of model.parameters.all) {
    if (!/embed_tokens|norm/.test(name)) continue;
    const values = value.toFloat32Array();
    value.upload(values.map((x) => x * (1 + 2 ** -8 * (2 * random.uniform() - 1))));
  }
  model.parametersChanged();
}

for (const [kind, options] of Object.entries(KINDS)) {
  cudaTest(
    `${kind}: the loss and every gradient are those of the CPU build in float32`,
    (device, random) => {
      const ids = idsOf(random);
      using cpu = openCpu();
      using there = create(cpu, options, "float32");
      using here = create(device, options, "float32");
      const expected = gradientsOf(there, ids), actual = gradientsOf(here, ids);
      // An activation on the edge between two integers may fall to the other side.
      const quantized = options.quantization !== "none";
      assertLess(Math.abs(actual.loss - expected.loss), quantized ? 1e-3 : 1e-4);
      for (const [index, [name, gradient]] of actual.gradients.entries()) {
        const limit = quantized ? 2e-2 : 1e-4;
        assertLess(distance(gradient, expected.gradients[index]![1]), limit, name);
      }
    },
  );

  cudaTest(
    `${kind}: bfloat16 activations change loss and gradients as roundings of their size do`,
    (device, random) => {
      const ids = idsOf(random);
      using exact = create(device, options, "float32");
      using disturbed = create(device, options, "float32");
      using rounded = create(device, options, "bfloat16");
      disturb(disturbed, random);
      const expected = gradientsOf(exact, ids), actual = gradientsOf(rounded, ids);
      const floor = gradientsOf(disturbed, ids);
      assertLess(Math.abs(actual.loss - expected.loss) / expected.loss, 1e-2);
      for (const [index, [name, gradient]] of actual.gradients.entries()) {
        const reference = expected.gradients[index]![1];
        // Unrelated gradients are 1.4 apart. Steps of 4 bits turn a rounding into much: there the floor itself is 0.3.
        const limit = Math.min(0.8, 3 * distance(floor.gradients[index]![1], reference));
        assertLess(distance(gradient, reference), limit, name);
      }
    },
    { products: true },
  );

  cudaTest(
    `${kind}: gradients in bfloat16 are those in float32 rounded once, and twice where they add up`,
    (device, random) => {
      const ids = idsOf(random);
      using exact = create(device, options, "bfloat16");
      using rounded = create(device, options, "bfloat16", "bfloat16");
      const expected = gradientsOf(exact, ids).gradients;
      for (const [index, [name, gradient]] of gradientsOf(rounded, ids).gradients.entries()) {
        assertLess(distance(gradient, expected[index]![1]), 2 ** -8, name);
      }
      rounded.forward(ids, { labels: ids });
      rounded.backward();
      for (const [index, { name, grad }] of rounded.parameters.all.entries()) {
        const twice = expected[index]![1].map((value) => 2 * value);
        assertLess(distance(floatsOf(grad!), twice), 2 ** -7, name);
      }
    },
    { products: true },
  );

  for (const state of ["fp32", "bf16", "int8"] as const) {
    const gradientDtype = state === "fp32" ? "float32" : "bfloat16";
    cudaTest(
      `${kind}: a small model overfits a batch in bfloat16 with ${state} moments and ${gradientDtype} gradients`,
      (device, random) => {
        const ids = idsOf(random).map((row) => row.subarray(0, 20));
        using model = create(device, options, "bfloat16", gradientDtype);
        using optimizer = new AdamW(model.parameters, { state }).commit(device);
        let loss = Infinity;
        for (let step = 1; step <= 200; step++) {
          loss = gradientsOfStep(model, ids);
          optimizer.step({ lr: 3e-3, weightDecay: () => 0 });
          model.parametersChanged();
        }
        assertLess(loss, 0.1);
      },
    );
  }
}

function gradientsOfStep(model: BitNetTransformer, ids: Int32Array[]): number {
  model.parameters.zeroGradients();
  const loss = model.forward(ids, { labels: ids }).loss!;
  model.backward();
  return loss;
}

cudaTest("twenty steps end in the same bits when they are run again", (device) => {
  const run = () => {
    const random = new Random(11);
    using model = create(device, {}, "bfloat16");
    using optimizer = new AdamW(model.parameters).commit(device);
    for (let step = 1; step <= 20; step++) {
      gradientsOfStep(model, idsOf(random));
      optimizer.step({ lr: 3e-3, weightDecay: () => 0.1 });
      model.parametersChanged();
    }
    return model.parameters.groups.map(({ value }) => value.toFloat32Array());
  };
  const first = run(), second = run();
  for (const [index, expected] of first.entries()) {
    assertSameBits({ name: `group ${index}`, actual: second[index]!, expected });
  }
}, { products: true });

cudaTest(
  "a recorded micro-step leaves the bits that the ops leave one by one",
  (device, random) => {
    const ids = idsOf(random);
    using model = create(device, {}, "bfloat16");
    using pass = model.plan({ sequences: 3, tokens: 70, training: true }).commit(device);
    const flat = Int32Array.from(ids.flatMap((row) => [...row]));
    pass.ids.upload(flat);
    pass.targets.upload(flat);
    const step = () => {
      model.parametersChanged();
      pass.forward();
      pass.backward({ gradScale: 1 / flat.length });
    };
    const gradients = () =>
      Float32Array.from(model.parameters.groups.flatMap(({ grad }) => [...grad!.toFloat32Array()]));
    step(); // warm: libraries are opened, algorithms chosen
    model.parameters.zeroGradients();
    step();
    const expected = gradients();
    assert(expected.some((value) => value !== 0));
    using graph = Graph.record(device, step);
    assertEquals(gradients(), expected);
    model.parameters.zeroGradients();
    graph.launch();
    assertSameBits({ name: "gradients", actual: gradients(), expected });
  },
  { products: true },
);
