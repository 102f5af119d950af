import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { BitNetConfig } from "../../lib/model/config.ts";
import { CheckpointError } from "../../lib/checkpoint/errors.ts";
import { openModelFolder } from "../../lib/checkpoint/model_folder.ts";
import { modelTensors, saveCheckpoint } from "../../lib/checkpoint/save.ts";
import { formatHuggingFaceConfig } from "../../lib/interop/huggingface.ts";
import { type SafetensorsDtype, writeSafetensors } from "../../lib/interop/safetensors.ts";
import { tensorBytes, type TensorSpec } from "../../lib/interop/safetensors_header.ts";
import { bytesOf, CONFIG, contentOf, sinksOf, withFolder } from "./support.ts";

/** A model as another program leaves it: config.json and weights, nothing else. */
async function writeForeign(
  folder: string,
  { config = CONFIG, dtype = "F32" as SafetensorsDtype, extra = [] as TensorSpec[] } = {},
): Promise<void> {
  Deno.writeTextFileSync(join(folder, "config.json"), formatHuggingFaceConfig(config));
  using file = Deno.openSync(join(folder, "model.safetensors"), { write: true, create: true });
  const specs = [...modelTensors(config).map((spec) => ({ ...spec, dtype })), ...extra];
  await writeSafetensors(
    file,
    specs.map((spec) => {
      // A tied head has the embedding's bytes, as programs save it that do not know of ties.
      const name = spec.name === "lm_head.weight" ? "model.embed_tokens.weight" : spec.name;
      const bytes = bytesOf({ ...spec, name }, 5);
      return { ...spec, read: (into, at) => into.set(bytes.subarray(at, at + into.length)) };
    }),
  );
}

Deno.test("openModelFolder() opens a checkpoint", async () => {
  await withFolder(async (run) => {
    const { path } = await saveCheckpoint(run, contentOf(7));
    const model = await openModelFolder(path);
    assertEquals([model.path, model.config], [path, CONFIG]);
    assertEquals(new TextDecoder().decode(model.tokenizerJson!), `{"version":"1.0","seed":7}`);
    const specs = modelTensors(CONFIG);
    const { sinks, memory } = sinksOf(specs);
    await model.loadParameters(sinks);
    for (const spec of specs) assertEquals(memory.get(spec.name), bytesOf(spec, 7));
  });
});

Deno.test("openModelFolder() opens a folder without checksums", async () => {
  await withFolder(async (folder) => {
    await writeForeign(folder);
    const model = await openModelFolder(folder);
    assertEquals([model.config, model.tokenizerJson], [CONFIG, null]);
  });
});

Deno.test("openModelFolder() takes a config.json with a byte order mark, and refuses one in UTF-16", async () => {
  await withFolder(async (folder) => {
    await writeForeign(folder);
    const config = join(folder, "config.json");
    await Deno.writeTextFile(config, "\ufeff" + await Deno.readTextFile(config));
    assertEquals((await openModelFolder(folder)).config, CONFIG);
    await Deno.writeFile(config, Uint8Array.of(0xff, 0xfe, 0x7b, 0, 0x7d, 0));
    await assertRejects(
      () => openModelFolder(folder),
      CheckpointError,
      `Cannot read ${config} as it must be JSON in UTF-8: current value is text in UTF-16`,
    );
  });
});

Deno.test("openModelFolder() gives BF16 weights as float32", async () => {
  await withFolder(async (folder) => {
    await writeForeign(folder, { dtype: "BF16" });
    const specs = modelTensors(CONFIG);
    const { sinks, memory } = sinksOf(specs);
    await (await openModelFolder(folder)).loadParameters(sinks);
    for (const spec of specs) {
      const half = bytesOf({ ...spec, dtype: "BF16" }, 5);
      const wide = memory.get(spec.name)!;
      for (let i = 0; i < half.length / 2; i++) {
        assertEquals(
          [...wide.subarray(4 * i, 4 * i + 4)],
          [0, 0, half[2 * i]!, half[2 * i + 1]!],
        );
      }
    }
  });
});

Deno.test("openModelFolder() takes a tied head that equals the embedding", async () => {
  await withFolder(async (folder) => {
    const head = { name: "lm_head.weight", shape: [37, 12], dtype: "F32" as const };
    await writeForeign(folder, { extra: [head] });
    const { sinks } = sinksOf(modelTensors(CONFIG));
    await (await openModelFolder(folder)).loadParameters(sinks);
  });
});

Deno.test("openModelFolder() throws when a tied head differs from the embedding", async () => {
  await withFolder(async (folder) => {
    const head = { name: "lm_head.weight", shape: [37, 12], dtype: "F32" as const };
    await writeForeign(folder, { extra: [head] });
    const path = join(folder, "model.safetensors");
    const bytes = Deno.readFileSync(path);
    const headAt = 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true));
    bytes[headAt + tensorBytes(head) - 1]! ^= 1; // "lm_head" sorts before "model."
    Deno.writeFileSync(path, bytes);
    await assertRejects(() => openModelFolder(folder), CheckpointError, "tie_word_embeddings");
  });
});

Deno.test("openModelFolder() throws when an untied head is missing", async () => {
  await withFolder(async (folder) => {
    await writeForeign(folder);
    const untied = new BitNetConfig({ ...CONFIG, tieEmbeddings: false });
    Deno.writeTextFileSync(join(folder, "config.json"), formatHuggingFaceConfig(untied));
    await assertRejects(() => openModelFolder(folder), CheckpointError, `"lm_head.weight"`);
  });
});

Deno.test("openModelFolder() throws when a tensor is not of this model", async () => {
  await withFolder(async (folder) => {
    const bias = { name: "model.norm.bias", shape: [12], dtype: "F32" as const };
    await writeForeign(folder, { extra: [bias] });
    await assertRejects(() => openModelFolder(folder), CheckpointError, `"model.norm.bias"`);
  });
});

Deno.test("openModelFolder() takes the newest sound checkpoint of a run's folder", async () => {
  await withFolder(async (run) => {
    for (const step of [1, 2, 3]) await saveCheckpoint(run, contentOf(step));
    Deno.truncateSync(join(run, "step_0000003", "model.safetensors"), 1000);
    const model = await openModelFolder(run);
    assertEquals(model.path, join(run, "step_0000002"));
    assertEquals(model.passedOver.map(({ path }) => path), [join(run, "step_0000003")]);
    assertStringIncludes(model.passedOver[0]!.reason, "model.safetensors must be");
  });
});

Deno.test("openModelFolder() throws when a weight of a checkpoint was changed", async () => {
  await withFolder(async (run) => {
    const { path } = await saveCheckpoint(run, contentOf(7));
    const bytes = Deno.readFileSync(join(path, "model.safetensors"));
    bytes[bytes.length - 1]! ^= 1;
    Deno.writeFileSync(join(path, "model.safetensors"), bytes);
    await assertRejects(
      () => openModelFolder(path),
      CheckpointError,
      "model.safetensors was changed",
    );
  });
});

Deno.test("openModelFolder() does not need the optimizer", async () => {
  await withFolder(async (run) => {
    const { path } = await saveCheckpoint(run, contentOf(7));
    Deno.removeSync(join(path, "optimizer.safetensors"));
    assertEquals((await openModelFolder(path)).config, CONFIG);
  });
});

Deno.test("openModelFolder() throws when there is no model", async () => {
  await withFolder(async (folder) => {
    await assertRejects(() => openModelFolder(folder), CheckpointError, "no such file");
    await assertRejects(
      () => openModelFolder(join(folder, "x")),
      CheckpointError,
      "no such folder",
    );
  });
});

Deno.test("ModelFolder.loadParameters() throws and writes nothing when a shape differs", async () => {
  await withFolder(async (folder) => {
    await writeForeign(folder);
    const model = await openModelFolder(folder);
    const { sinks, memory } = sinksOf(modelTensors(new BitNetConfig({ ...CONFIG, vocabSize: 5 })));
    await assertRejects(() => model.loadParameters(sinks), CheckpointError, "[5, 12]");
    assert([...memory.values()].every((bytes) => bytes.every((byte) => byte === 0xaa)));
  });
});
