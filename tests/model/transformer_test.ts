import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertLess,
  assertNotEquals,
  assertThrows,
} from "@std/assert";
import { Device } from "../../lib/ffi/device.ts";
import { parameterShapes } from "../../lib/interop/huggingface.ts";
import { BitLinear } from "../../lib/model/bit_linear.ts";
import { BitNetConfig, type BitNetConfigOptions } from "../../lib/model/config.ts";
import { BitNetTransformer } from "../../lib/model/transformer.ts";
import { AdamW } from "../../lib/optim/adamw.ts";

const TINY: BitNetConfigOptions = {
  vocabSize: 37,
  hiddenSize: 24,
  numLayers: 2,
  numHeads: 4,
  numKvHeads: 2,
  intermediateSize: 40,
  initStd: 0.2,
};

function tiny(options: Partial<BitNetConfigOptions> = {}, seed = 7): BitNetTransformer {
  return BitNetTransformer.create(new BitNetConfig({ ...TINY, ...options }), {
    device: "cpu",
    seed,
  });
}

const IDS = [[3, 1, 4, 1, 5, 9, 2], [6, 5, 3, 5, 8, 9, 7]];

function gradientsOf(model: BitNetTransformer): Float32Array[] {
  return model.parameters.all.map(({ grad }) => grad!.toFloat32Array());
}

Deno.test("create() gives the same weights when the seed is the same", () => {
  using first = tiny();
  using second = tiny();
  assertEquals(
    first.parameters.groups.map(({ value }) => value.toFloat32Array()),
    second.parameters.groups.map(({ value }) => value.toFloat32Array()),
  );
});

Deno.test("create() gives other weights when the seed is another", () => {
  using first = tiny();
  using second = tiny({}, 8);
  const name = "model.layers.1.mlp.down_proj.weight";
  assertNotEquals(
    first.parameters.get(name).value.toFloat32Array(),
    second.parameters.get(name).value.toFloat32Array(),
  );
});

for (const tieEmbeddings of [true, false]) {
  Deno.test(`parameters have Hugging Face's names and shapes when tieEmbeddings is ${tieEmbeddings}`, () => {
    using model = tiny({ tieEmbeddings });
    const byName = (a: { name: string }, b: { name: string }) => a.name < b.name ? -1 : 1;
    assertEquals(
      model.parameters.all.map(({ name, shape }) => ({ name, shape: [...shape] })).sort(byName),
      parameterShapes(model.config).map(({ name, shape }) => ({ name, shape: [...shape] }))
        .sort(byName),
    );
  });
}

Deno.test("forward() gives the mean cross-entropy of its own logits when labels are given", () => {
  using model = tiny();
  const { loss, logits } = model.forward(IDS, { labels: IDS });
  const V = model.config.vocabSize;
  let nats = 0;
  for (const [b, row] of IDS.entries()) {
    for (let t = 0; t + 1 < row.length; t++) {
      const start = (b * row.length + t) * V;
      const scores = Array.from(logits.subarray(start, start + V));
      const sum = scores.reduce((total, score) => total + Math.exp(score), 0);
      nats += Math.log(sum) - scores[row[t + 1]!]!;
    }
  }
  assertAlmostEquals(loss!, nats / 12, 1e-5);
});

Deno.test("forward() leaves out negative labels", () => {
  using model = tiny();
  const whole = model.forward([IDS[0]!.slice(0, 3)], { labels: [IDS[0]!.slice(0, 3)] }).loss;
  const masked = IDS[0]!.map((id, position) => position < 3 ? id : -100);
  assertAlmostEquals(model.forward([IDS[0]!], { labels: [masked] }).loss!, whole!, 1e-5);
});

Deno.test("forward() gives no earlier logit another value when a later token changes", () => {
  using model = tiny();
  const before = model.forward([1, 2, 3, 4, 5]).logits.slice(0, 4 * 37);
  const after = model.forward([1, 2, 3, 4, 30]).logits.slice(0, 4 * 37);
  assertEquals(before, after);
});

Deno.test("forward() gives a sequence the same logits alone and in a batch", () => {
  using model = tiny();
  const batched = model.forward(IDS).logits.slice(7 * 37);
  const alone = model.forward([IDS[1]!]).logits;
  for (const [i, logit] of batched.entries()) assertAlmostEquals(alone[i]!, logit, 1e-5);
});

Deno.test("forward() gives the same bits whatever the number of threads", () => {
  const runs = [1, 2, 3].map((threads) => {
    using device = Device.open({ kind: "cpu", threads });
    using model = BitNetTransformer.create(new BitNetConfig(TINY), { device, seed: 7 });
    const { logits } = model.forward(IDS, { labels: IDS });
    model.backward();
    return { logits: logits.slice(), gradients: gradientsOf(model) };
  });
  assertEquals(runs[1], runs[0]);
  assertEquals(runs[2], runs[0]);
});

Deno.test("forward() names sequence and position when an id is outside the vocabulary", () => {
  using model = tiny();
  assertThrows(
    () => model.forward([[1, 2], [3, 37]]),
    RangeError,
    "from 0 to 36: sequence 1, position 1 is 37",
  );
  assertThrows(() => model.forward([1, -1]), RangeError, "position 1 is -1");
  assertThrows(() => model.forward([1, 0.5]), RangeError, "position 1 is 0.5");
});

Deno.test("forward() refuses sequences of different lengths, empty ones, and labels of another shape", () => {
  using model = tiny();
  assertThrows(() => model.forward([[1, 2], [3]]), RangeError, "equally long");
  assertThrows(() => model.forward([]), RangeError, "empty");
  assertThrows(
    () => model.forward([1, 2], { labels: [1, 2, 3] }),
    RangeError,
    "the shape of ids, (1, 2)",
  );
  assertThrows(() => model.forward([1], { labels: [1] }), RangeError, "no position has a label");
});

Deno.test("backward() adds to the gradients that are there", () => {
  using model = tiny();
  model.forward(IDS, { labels: IDS });
  model.backward();
  const once = gradientsOf(model);
  model.forward(IDS, { labels: IDS });
  model.backward();
  for (const [index, twice] of gradientsOf(model).entries()) {
    for (const [i, value] of twice.entries()) {
      const expected = 2 * once[index]![i]!;
      assertAlmostEquals(value, expected, 1e-6 + 1e-5 * Math.abs(expected));
    }
  }
});

for (const quantization of ["ternary", "none"] as const) {
  Deno.test(`a pass writes gradients of projections anew without accumulate when quantization is ${quantization}`, () => {
    using model = tiny({ quantization });
    using pass = model.plan({ sequences: 2, tokens: 7, training: true }).commit(model.device);
    pass.ids.upload(Int32Array.from(IDS.flat()));
    pass.targets.upload(Int32Array.from(IDS.flat()));
    pass.forward();
    pass.backward({ gradScale: 0.1 });
    const expected = gradientsOf(model);
    model.parameters.zeroGradients();
    for (const { group, grad } of model.parameters.groups) {
      if (group === "projections") grad!.upload(new Float32Array(grad!.length).fill(NaN));
    }
    pass.backward({ gradScale: 0.1, accumulate: false });
    assertEquals(gradientsOf(model), expected);
    pass.backward({ gradScale: 0.1, accumulate: false });
    for (const [index, { name, group }] of model.parameters.all.entries()) {
      const times = group === "projections" ? 1 : 2; // embeddings and norms are always added to
      const actual = gradientsOf(model)[index]!;
      const scaled = expected[index]!.map((value) => times * value);
      assert(actual.every((value, i) => Math.abs(value - scaled[i]!) <= 1e-6), name);
    }
  });
}

Deno.test("backward() refuses a model without gradients, and a forward pass without labels", () => {
  using model = tiny();
  model.forward(IDS);
  assertThrows(() => model.backward(), Error, "no forward pass with labels");
  using inference = BitNetTransformer.create(new BitNetConfig(TINY), {
    device: "cpu",
    training: false,
  });
  inference.forward(IDS, { labels: IDS });
  assertThrows(() => inference.backward(), Error, "training: false");
});

// The straight-through estimator is not the derivative of a ternary network, but without quantisation the same layers
// must give the true one: along random directions it equals the central difference of the loss.
for (const hiddenAct of ["silu", "relu2"] as const) {
  Deno.test(`backward() gives the derivative of the loss when quantization is none and hiddenAct is ${hiddenAct}`, () => {
    using model = tiny({ quantization: "none", hiddenAct, tieEmbeddings: hiddenAct === "silu" });
    const lossOf = () => model.forward(IDS, { labels: IDS }).loss!;
    lossOf();
    model.backward();
    let state = 12345;
    const random = () => (state = (state * 48271) % 2147483647) / 2147483647 - 0.5;
    for (const parameter of model.parameters.all) {
      const grad = parameter.grad!.toFloat32Array();
      const values = parameter.value.toFloat32Array();
      const direction = Float32Array.from(values, () => random());
      const analytic = grad.reduce((sum, g, i) => sum + g * direction[i]!, 0);
      const step = 4e-3;
      const moved = (sign: number) => {
        parameter.value.upload(values.map((value, i) => value + sign * step * direction[i]!));
        model.parametersChanged();
        return lossOf();
      };
      const numeric = (moved(1) - moved(-1)) / (2 * step);
      parameter.value.upload(values);
      model.parametersChanged();
      const scale = Math.max(Math.abs(analytic), Math.abs(numeric), 0.02);
      assertLess(
        Math.abs(analytic - numeric) / scale,
        0.02,
        `${parameter.name}: analytic ${analytic}, numeric ${numeric}`,
      );
    }
  });
}

Deno.test("prepare() gives each stacked matrix its own scale and ternary values", () => {
  using model = tiny();
  model.prepare();
  const qkv = model.blocks[0]!.attention.qkv as BitLinear;
  const scales = qkv.scale.toFloat32Array();
  const ternary = qkv.ternary.download(new Int8Array(qkv.ternary.length));
  let row = 0;
  for (const { value } of qkv.weight.parts) {
    const [rows, columns] = value.shape as [number, number];
    const weights = value.toFloat32Array();
    const mean = weights.reduce((sum, w) => sum + Math.abs(w), 0) / weights.length;
    for (let r = 0; r < rows; r++) {
      assertAlmostEquals(scales[row + r]!, mean, 1e-6);
      for (let c = 0; c < columns; c++) {
        const expected = Math.max(-1, Math.min(1, Math.round(weights[r * columns + c]! / mean)));
        assertEquals(ternary[(row + r) * columns + c]!, expected + 0);
      }
    }
    row += rows;
  }
});

Deno.test("parametersChanged() makes the next pass use the new weights", () => {
  using model = tiny();
  const before = model.forward(IDS).logits.slice();
  const { value } = model.parameters.get("model.layers.0.self_attn.v_proj.weight");
  value.upload(value.toFloat32Array().map((weight) => -weight));
  model.parametersChanged();
  assertNotEquals(model.forward(IDS).logits.slice(), before);
});

Deno.test("layers.projection takes the place of every projection when it is given", () => {
  let made = 0;
  class Counted extends BitLinear {
    override prepare(): void {
      made++;
      super.prepare();
    }
  }
  using model = BitNetTransformer.create(new BitNetConfig(TINY), {
    device: "cpu",
    layers: { projection: (spec) => new Counted(spec) },
  });
  model.forward(IDS);
  assertEquals(made, 4 * TINY.numLayers);
});

Deno.test("forward() and backward() leave every number finite when a sequence has one token", () => {
  using model = tiny();
  model.forward([[5, 6]], { labels: [[5, 6]] });
  model.backward();
  assert(model.forward([5]).logits.every(Number.isFinite));
  assert(gradientsOf(model).every((grad) => grad.every(Number.isFinite)));
});

for (const activationQuant of ["absmax", "absmean"] as const) {
  Deno.test(`a tiny model overfits a batch to near zero loss when activationQuant is ${activationQuant}`, () => {
    using model = tiny({ activationQuant, initStd: 0.05 });
    using optimizer = new AdamW(model.parameters).commit(model.device);
    let loss = Infinity;
    for (let step = 1; step <= 200; step++) {
      model.parameters.zeroGradients();
      loss = model.forward(IDS, { labels: IDS }).loss!;
      model.backward();
      optimizer.step({ lr: 1e-2, weightDecay: () => 0 });
      model.parametersChanged();
    }
    assertLess(loss, 0.02);
  });
}
