import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { BitNetConfig } from "../../lib/model/config.ts";
import { CheckpointError } from "../../lib/checkpoint/errors.ts";
import { exportModel } from "../../lib/checkpoint/export_model.ts";
import { openModelFolder } from "../../lib/checkpoint/model_folder.ts";
import { modelTensors, saveCheckpoint } from "../../lib/checkpoint/save.ts";
import { CHUNK_BYTES, SafetensorsFile } from "../../lib/interop/safetensors.ts";
import { narrowToBfloat16, widenToFloat32 } from "../../lib/interop/tensor_transfer.ts";
import { bytesOf, CONFIG, contentOf, namesIn, sinksOf, withFolder } from "./support.ts";

const SPECS = modelTensors(CONFIG);

/** Runs `body` with a checkpoint and a folder beside it. */
async function withCheckpoint(body: (path: string, folder: string) => Promise<void>) {
  await withFolder(async (folder) => {
    const { path } = await saveCheckpoint(join(folder, "run"), contentOf(7));
    await body(path, folder);
  });
}

Deno.test("exportModel() writes what running the model needs, with the checkpoint's own weights", () =>
  withCheckpoint(async (path, folder) => {
    const output = join(folder, "new", "model");
    const exported = await exportModel(join(folder, "run"), output);
    const names = ["config.json", "model.safetensors", "tokenizer.json"];
    assertEquals([exported.path, exported.passedOver], [path, []]);
    assertEquals(namesIn(output), names);
    assertEquals([...exported.files].sort(), names);
    const sizes = names.map((name) => Deno.statSync(join(output, name)).size);
    assertEquals(exported.bytes, sizes[0]! + sizes[1]! + sizes[2]!);
    assertEquals(namesIn(join(folder, "new")), ["model"], "nothing is left beside it");
    const model = await openModelFolder(output);
    assertEquals(model.config, CONFIG);
    assertEquals(model.tokenizerJson, (await openModelFolder(path)).tokenizerJson);
    const { sinks, memory } = sinksOf(SPECS);
    await model.loadParameters(sinks);
    for (const spec of SPECS) assertEquals(memory.get(spec.name), bytesOf(spec, 7));
  }));

Deno.test("exportModel() rounds to bfloat16, and widens it again without loss", () =>
  withCheckpoint(async (path, folder) => {
    const half = join(folder, "half");
    await exportModel(path, half, { dtype: "bfloat16" });
    assertStringIncludes(
      Deno.readTextFileSync(join(half, "config.json")),
      `"torch_dtype": "bfloat16"`,
    );
    {
      using file = SafetensorsFile.open(join(half, "model.safetensors"));
      for (const spec of SPECS) {
        const info = file.tensors.get(spec.name)!;
        const found = new Uint8Array(info.end - info.begin);
        await file.readInto(spec.name, found, 0);
        assertEquals([info.dtype, found], ["BF16", narrowToBfloat16(bytesOf(spec, 7).slice())]);
      }
    }
    const [wide, again] = [join(folder, "wide"), join(folder, "again")];
    await exportModel(half, wide);
    await exportModel(wide, again, { dtype: "bfloat16" });
    const weights = (at: string) => Deno.readFileSync(join(at, "model.safetensors"));
    assertEquals(weights(again), weights(half));
  }));

Deno.test("exportModel() converts a tensor of several chunks", async () => {
  const config = new BitNetConfig({ vocabSize: 33_000, hiddenSize: 64, numLayers: 1, numHeads: 1 });
  const content = contentOf(7);
  const parameters = modelTensors(config).map((spec) => {
    const bytes = bytesOf(spec, 3);
    return {
      ...spec,
      read: (into: Uint8Array, at: number) => into.set(bytes.subarray(at, at + into.length)),
    };
  });
  await withFolder(async (folder) => {
    const saved = { ...content, model: config, parameters, optimizer: [] };
    const { path } = await saveCheckpoint(join(folder, "run"), saved);
    await exportModel(path, join(folder, "half"), { dtype: "bfloat16" });
    await exportModel(join(folder, "half"), join(folder, "wide"));
    const name = "model.embed_tokens.weight";
    const [spec] = modelTensors(config);
    const half = narrowToBfloat16(bytesOf(spec!, 3).slice());
    for (
      const [at, expected] of [["half", half], ["wide", widenToFloat32(half, "BF16")]] as const
    ) {
      using file = SafetensorsFile.open(join(folder, at, "model.safetensors"));
      const found = new Uint8Array(expected.length);
      await file.readInto(name, found, 0);
      assert(found.length > CHUNK_BYTES && found.every((byte, i) => byte === expected[i]), at);
    }
  });
});

Deno.test("exportModel() takes an empty folder, and refuses what holds something", () =>
  withCheckpoint(async (path, folder) => {
    const output = join(folder, "empty");
    Deno.mkdirSync(output);
    await exportModel(path, output);
    const before = Deno.readFileSync(join(output, "model.safetensors"));
    const refused = (at: string, found: string) =>
      assertRejects(
        () => exportModel(path, at),
        CheckpointError,
        `Cannot export to ${at} as it must be a new folder, or an empty one: current value is ${found}; name another`,
      );
    await refused(output, "a folder with files in it");
    await refused(join(output, "config.json"), "a file");
    await refused(join(output, "config.json", "below"), "a name below a file");
    assertEquals(Deno.readFileSync(join(output, "model.safetensors")), before);
  }));

Deno.test("exportModel() leaves nothing when the checkpoint is damaged", () =>
  withCheckpoint(async (path, folder) => {
    Deno.truncateSync(join(path, "model.safetensors"), 100);
    await assertRejects(() => exportModel(path, join(folder, "out")), CheckpointError, "must be");
    assertEquals(namesIn(folder), ["run"]);
  }));
