import { assert, assertEquals, assertThrows } from "@std/assert";
import { NativeError } from "../../lib/ffi/errors.ts";
import { BitNetConfig } from "../../lib/model/config.ts";
import { BitLinear } from "../../lib/model/bit_linear.ts";
import type { ParameterDeclaration } from "../../lib/model/parameters.ts";
import type { StateDict } from "../../lib/model/state_dict.ts";
import { BitNetTransformer } from "../../lib/model/transformer.ts";

const CONFIG = new BitNetConfig({
  vocabSize: 31,
  hiddenSize: 16,
  numLayers: 2,
  numHeads: 2,
  intermediateSize: 24,
});

Deno.test("layOut() keeps gradients of projections alone in bfloat16 when gradientDtype says so", () => {
  const exact = new BitNetTransformer(CONFIG, { training: true });
  const model = new BitNetTransformer(CONFIG, { training: true, gradientDtype: "bfloat16" });
  const dtypes = model.parameters.groups.map(({ group, value, grad }) => [
    group,
    value.dtype,
    grad?.dtype,
  ]);
  assertEquals(dtypes, [
    ["projections", "float32", "bfloat16"],
    ["embeddings", "float32", "float32"],
    ["norms", "float32", "float32"],
  ]);
  const projections = model.parameters.groups[0]!.value.length;
  assertEquals(
    exact.parameters.bytes.gradients - model.parameters.bytes.gradients,
    2 * projections,
  );
  for (const { group, grad, value } of model.parameters.all) {
    assertEquals(grad?.dtype, group === "projections" ? "bfloat16" : "float32");
    assertEquals(grad?.shape, value.shape);
  }
});

Deno.test("zeroGradients() clears every group's gradients, whatever their dtypes", () => {
  for (const gradientDtype of ["float32", "bfloat16"] as const) {
    using model = BitNetTransformer.create(CONFIG, { device: "cpu", gradientDtype });
    const bytes = () =>
      model.parameters.groups.map(({ grad }) => grad!.download(new Uint8Array(grad!.bytes)));
    for (const { grad } of model.parameters.groups) {
      model.device.fill(grad!.address, 0x11, grad!.bytes);
    }
    assert(bytes().every((group) => group.every((byte) => byte === 0x11)));
    model.parameters.zeroGradients();
    assert(bytes().every((group) => group.every((byte) => byte === 0)));
  }
});

Deno.test("backward() names the dtype when the CPU build is to keep gradients in bfloat16", () => {
  for (const quantization of ["ternary", "none"] as const) {
    using model = BitNetTransformer.create(new BitNetConfig({ ...CONFIG, quantization }), {
      device: "cpu",
      gradientDtype: "bfloat16",
    });
    model.forward([1, 2, 3], { labels: [1, 2, 3] });
    const error = assertThrows(() => model.backward(), NativeError, "float32");
    assertEquals(error.status, "unsupported");
  }
});

Deno.test("freeze() takes names and patterns, and leaves the ranges between them to be trained", () => {
  const { parameters } = new BitNetTransformer(CONFIG, { training: true });
  const trained = (group: string) =>
    parameters.groups.find((flat) => flat.group === group)!.trained.map((
      { from, to },
    ) => [from, to]);
  // Projections of a layer: q, k, v and o of 16 x 16, gate, up and down of 24 x 16.
  const layer = 4 * 256 + 3 * 384;
  parameters.freeze("model.layers.0.self_attn.k_proj.weight");
  assertEquals(trained("projections"), [[0, 256], [512, 2 * layer]]);
  parameters.freeze("model.layers.1.*");
  assertEquals(trained("projections"), [[0, 256], [512, layer]]);
  assertEquals(trained("embeddings"), [[0, 31 * 16]]);
  assertEquals(trained("norms"), [[0, 72], [144, 160]]);
  parameters.freeze("*");
  assertEquals(trained("norms"), []);
  assertEquals(parameters.frozen.size, parameters.all.length);
  parameters.unfreeze("*.self_attn.q_proj.weight");
  assertEquals(trained("projections"), [[0, 256], [layer, layer + 256]]);
  for (const pattern of ["model.layers.2.*", "model_norm_weight", "model.nor"]) {
    assertThrows(
      () => parameters.freeze(pattern),
      RangeError,
      `Cannot find ${pattern} as it must be the name of a parameter, or a pattern of one`,
    );
  }
});

/** A model whose first projection declares more. */
function declaring(...declarations: ParameterDeclaration[]): BitNetTransformer {
  let first = true;
  return BitNetTransformer.create(CONFIG, {
    device: "cpu",
    seed: 3,
    layers: {
      projection(spec) {
        const projection = new BitLinear(spec);
        if (first) declarations.forEach((declaration) => spec.parameters.declare(declaration));
        first = false;
        return projection;
      },
    },
  });
}

const parts = (name: string, shape: readonly number[] = [2]) => [{ name, shape }];

Deno.test("declare() gives a group of one's own its first values, gradients in float32, and decay where it says so", () => {
  const options = { group: "mine", decay: true };
  const make = () =>
    declaring(
      { ...options, parts: parts("a", [2, 3]), initial: -0.5 },
      { ...options, parts: parts("b", [1000]), initial: { std: 2 } },
      { group: "other", parts: parts("c"), initial: 0 },
    );
  using model = make();
  const { parameters } = model;
  assertEquals(
    parameters.groups.map(({ group, decay, value }) => [group, decay, value.length]).slice(3),
    [["mine", true, 1006], ["other", false, 2]],
  );
  assertEquals(parameters.groups.map(({ decay }) => decay).slice(0, 3), [true, true, false]);
  const values = (name: string) => parameters.get(name).value.toFloat32Array();
  assertEquals([...values("a")], new Array(6).fill(-0.5));
  assertEquals([...values("c")], [0, 0]);
  const mean = values("b").reduce((sum, value) => sum + value ** 2, 0) / 1000;
  assert(Math.abs(mean - 4) < 0.8, String(mean));
  using again = make();
  assertEquals(again.stateDict(), model.stateDict());
  using plain = BitNetTransformer.create(CONFIG, { device: "cpu", seed: 3 });
  for (const { name } of plain.parameters.all) {
    assertEquals(values(name), plain.parameters.get(name).value.toFloat32Array(), name);
  }
});

for (
  const [what, declaration, message] of [
    [
      "a name twice",
      { group: "x", parts: parts("model.norm.weight"), initial: 1 },
      /name of its own/,
    ],
    ["no first values", { group: "x", parts: parts("a") }, /`initial` must give the first values/],
    ["a number that is none", { group: "x", parts: parts("a"), initial: NaN }, /must be finite/],
    ["no shape", { group: "x", parts: parts("a", []), initial: 1 }, /the shape of a must be/],
    [
      "an empty shape",
      { group: "x", parts: parts("a", [0]), initial: 1 },
      /current value is \[0\]/,
    ],
    [
      "a group that is no name",
      { group: "X 1", parts: parts("a"), initial: 1 },
      /must be projections/,
    ],
    ["norms that decay", { group: "norms", parts: parts("a"), decay: true }, /decay must be false/],
  ] as const
) {
  Deno.test(`declare() refuses ${what}`, () => {
    const error = assertThrows(() => declaring(declaration, { ...declaration }), RangeError);
    assert(message.test(error.message), error.message);
  });
}

Deno.test("loadStateDict() takes what stateDict() gave, and touches nothing where a name, shape or dtype is another", () => {
  using model = BitNetTransformer.create(CONFIG, { device: "cpu", seed: 1 });
  using other = BitNetTransformer.create(CONFIG, { device: "cpu", seed: 2 });
  const ids = [1, 2, 3];
  const values = model.stateDict();
  other.forward(ids);
  other.loadStateDict(values);
  assertEquals(other.stateDict(), values);
  assertEquals(other.forward(ids).logits, model.forward(ids).logits);

  using fresh = BitNetTransformer.create(CONFIG, { device: "cpu", seed: 2 });
  const before = fresh.stateDict();
  const name = "model.layers.0.mlp.up_proj.weight";
  const { [name]: taken, ...rest } = values;
  const { shape, values: array } = taken!;
  for (
    const [wrong, message] of [
      [rest, `${name} is missing`],
      [{ ...values, "lm_head.weight": taken }, "lm_head.weight is not part of the model"],
      [
        { ...rest, [name]: { shape: [16, 24], values: array } },
        "the shape [24,16]: current value is [16,24]",
      ],
      [{ ...rest, [name]: { shape, values: array.slice(1) } }, "384 values: current value is 383"],
      [
        { ...rest, [name]: { shape, values: new Float64Array(384) } },
        "current value is Float64Array",
      ],
    ] as [StateDict, string][]
  ) {
    assertThrows(() => fresh.loadStateDict(wrong), RangeError, message);
    assertEquals(fresh.stateDict(), before);
  }
});
