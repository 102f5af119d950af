import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { CheckpointError } from "../../lib/checkpoint/errors.ts";
import { loadWeights, saveModel } from "../../lib/checkpoint/model_weights.ts";
import { writeSafetensors } from "../../lib/interop/safetensors.ts";
import { loadModel } from "../../lib/inference/load_model.ts";
import { BitLinear } from "../../lib/model/bit_linear.ts";
import { BitNetConfig, type BitNetConfigOptions } from "../../lib/model/config.ts";
import { BitNetTransformer } from "../../lib/model/transformer.ts";
import { namesIn, withFolder } from "./support.ts";

const OPTIONS = { vocabSize: 37, hiddenSize: 16, numLayers: 1, numHeads: 2, intermediateSize: 24 };
const IDS = [3, 1, 4, 1, 5];
const DEVICE = { kind: "cpu", threads: 1 } as const;

function create(options: Partial<BitNetConfigOptions> = {}, seed = 1) {
  return BitNetTransformer.create(new BitNetConfig({ ...OPTIONS, ...options }), {
    device: DEVICE,
    seed,
  });
}

Deno.test("loadWeights() gives another model the bits that saveModel() wrote, tied and not", () =>
  withFolder(async (folder) => {
    for (const tieEmbeddings of [true, false]) {
      using model = create({ tieEmbeddings });
      const output = join(folder, `tied_${tieEmbeddings}`);
      const { files } = await saveModel(model, output);
      assertEquals([...files].sort(), ["config.json", "model.safetensors"]);
      assertEquals(namesIn(output), ["config.json", "model.safetensors"]);
      for (const path of [output, join(output, "model.safetensors")]) {
        using other = create({ tieEmbeddings }, 2);
        other.forward(IDS); // derives ternary weights from the old ones
        await loadWeights(other, path);
        assertEquals(other.stateDict(), model.stateDict());
        assertEquals(other.forward(IDS).logits, model.forward(IDS).logits);
      }
      using loaded = await loadModel(output, { device: DEVICE });
      assertEquals(loaded.model.forward(IDS).logits, model.forward(IDS).logits);
    }
  }));

Deno.test("saveModel() writes a tokenizer with its ids, rounds to bfloat16, and replaces nothing", () =>
  withFolder(async (folder) => {
    using model = create();
    const output = join(folder, "model");
    const json = new TextEncoder().encode("{}");
    await saveModel(model, output, {
      dtype: "bfloat16",
      tokenizer: { json, bosId: null, eosId: 2 },
    });
    const config = JSON.parse(Deno.readTextFileSync(join(output, "config.json")));
    assertEquals(
      [config.eos_token_id, config.bos_token_id, config.torch_dtype],
      [2, null, "bfloat16"],
    );
    assertEquals(Deno.readFileSync(join(output, "tokenizer.json")), json);
    using half = create({}, 2);
    await loadWeights(half, output);
    for (const [name, { values }] of Object.entries(model.stateDict())) {
      const rounded = half.stateDict()[name]!.values;
      assert(values.every((value, i) => Math.abs(value - rounded[i]!) <= Math.abs(value) / 256));
    }
    await assertRejects(
      () => saveModel(model, output),
      CheckpointError,
      "a folder with files in it",
    );
  }));

Deno.test("saveModel() notes layers that are a program's own, and refuses a model without latent weights", () =>
  withFolder(async (folder) => {
    const layers = {
      projection: (spec: ConstructorParameters<typeof BitLinear>[0]) => new BitLinear(spec),
    };
    using own = BitNetTransformer.create(new BitNetConfig(OPTIONS), { device: DEVICE, layers });
    const output = join(folder, "own");
    await saveModel(own, output);
    const config = Deno.readTextFileSync(join(output, "config.json"));
    assertStringIncludes(config, '"titanbit_own_layers": [\n    "projection"\n  ]');
    using plain = create();
    const before = plain.stateDict();
    await assertRejects(
      () => loadWeights(plain, output),
      CheckpointError,
      "layers of kind projection",
    );
    assertEquals(plain.stateDict(), before);

    await saveModel(plain, join(folder, "plain"));
    using packed = await loadModel(join(folder, "plain"), { device: DEVICE });
    await assertRejects(
      () => saveModel(packed.model, join(folder, "packed")),
      CheckpointError,
      "load it with packed: false",
    );
    assertEquals(namesIn(folder), ["own", "plain"]);
    using whole = await loadModel(join(folder, "plain"), { device: DEVICE, packed: false });
    await saveModel(whole.model, join(folder, "again"));
    for (const name of ["config.json", "model.safetensors"]) {
      assertEquals(
        Deno.readFileSync(join(folder, "again", name)),
        Deno.readFileSync(join(folder, "plain", name)),
      );
    }
  }));

for (
  const [what, options, message] of [
    ["a layer less", { numLayers: 2 }, /11 tensors missing: "model\.layers\.1\.input_layernorm/],
    [
      "another width",
      { intermediateSize: 32 },
      /mlp\.gate_proj\.weight" must have the shape \[32, 16\]/,
    ],
    ["a tied head", { tieEmbeddings: false }, /1 tensor missing: "lm_head\.weight"/],
    [
      "other heads",
      { numHeads: 4, numKvHeads: 4 },
      /num_attention_heads must be the model's 4: current value is 2/,
    ],
    ["another activation", { hiddenAct: "relu2" }, /hidden_act must be the model's relu2: .*silu/],
    ["another rotation", { ropeTheta: 99 }, /rope_theta must be the model's 99/],
  ] as const
) {
  Deno.test(`loadWeights() touches nothing of a model when the folder has ${what}`, () =>
    withFolder(async (folder) => {
      using saved = create({ numKvHeads: 2 });
      await saveModel(saved, join(folder, "model"));
      using model = create({ numKvHeads: 2, ...options }, 2);
      const before = model.stateDict();
      const error = await assertRejects(
        () => loadWeights(model, join(folder, "model")),
        CheckpointError,
      );
      assert(message.test(error.message), error.message);
      assertEquals(model.stateDict(), before);
    }));
}

Deno.test("loadWeights() names tensors of a file that are of another dtype or not the model's", () =>
  withFolder(async (folder) => {
    using model = create();
    const before = model.stateDict();
    const path = join(folder, "weights.safetensors");
    const tensors = Object.entries(before).map(([name, { shape }]) => ({
      name,
      shape,
      dtype: name === "model.norm.weight" ? "F64" as const : "F32" as const,
      read: (into: Uint8Array) => void into.fill(0),
    }));
    const extra = { name: "more", shape: [1], dtype: "F32" as const, read: () => {} };
    {
      using file = Deno.openSync(path, { write: true, createNew: true });
      await writeSafetensors(file, [...tensors, extra]);
    }
    const { message } = await assertRejects(() => loadWeights(model, path), CheckpointError);
    assertStringIncludes(
      message,
      '"model.norm.weight" must be readable as F32: current value is F64',
    );
    assertStringIncludes(message, '1 tensor not part of the model: "more"');
    assertEquals(model.stateDict(), before);
    await assertRejects(
      () => loadWeights(model, join(folder, "none")),
      CheckpointError,
      "no such folder",
    );
  }));
