import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { dirname, join } from "@std/path";
import { CheckpointError } from "../../lib/checkpoint/errors.ts";
import { endIds, loadModel } from "../../lib/inference/load_model.ts";
import { BitNetTransformer } from "../../lib/model/transformer.ts";
import { assertSameBits } from "../support/compare.ts";
import { TokenizerError } from "../../lib/tokenizer/errors.ts";
import {
  BYTE_VOCAB,
  byteTokenizerJson,
  END_ID,
  saveModel,
  tinyConfig,
  withFolder,
} from "./support.ts";

const CPU = { kind: "cpu", threads: 1 } as const;

function createModel(seed = 1, options: Parameters<typeof tinyConfig>[0] = {}): BitNetTransformer {
  return BitNetTransformer.create(tinyConfig(options), { device: CPU, training: false, seed });
}

Deno.test("loadModel() tells a checkpoint's step, tokenizer and context when it has them", () =>
  withFolder(async (folder) => {
    using model = createModel(1, { vocabSize: BYTE_VOCAB });
    const path = await saveModel(folder, model, { step: 12, tokenizerJson: byteTokenizerJson() });
    using loaded = await loadModel(path, { device: CPU });
    const { step, contextLength, tokenizer } = loaded;
    assertEquals([step, contextLength, tokenizer?.eosId], [12, 32, END_ID]);
  }));

Deno.test("loadModel() takes a run's newest checkpoint that verifies when it is given the run", () =>
  withFolder(async (folder) => {
    using older = createModel(1);
    using newer = createModel(2);
    await saveModel(folder, older, { step: 1 });
    const broken = await saveModel(folder, newer, { step: 2 });
    await Deno.truncate(join(broken, "model.safetensors"), 1000);
    using loaded = await loadModel(folder, { device: CPU });
    const passedOver = loaded.passedOver.map(({ path }) => path);
    assertEquals([loaded.step, passedOver], [1, [broken]]);
  }));

Deno.test("loadModel() reads a folder in Hugging Face's form when it has no checksums", () =>
  withFolder(async (folder) => {
    using model = createModel(3);
    const path = await saveModel(folder, model);
    const plain = join(dirname(path), "exported");
    await Deno.mkdir(plain);
    for (const name of ["config.json", "model.safetensors"]) {
      await Deno.copyFile(join(path, name), join(plain, name));
    }
    using loaded = await loadModel(plain, { device: CPU });
    assertEquals([loaded.step, loaded.tokenizer, loaded.contextLength], [null, null, 48]);
    const ids = [1, 2, 3];
    assertSameBits({
      name: "logits",
      actual: loaded.model.forward(ids).logits,
      expected: model.forward(ids).logits,
    });
  }));

Deno.test("loadModel() refuses a tokenizer when it has more ids than the model", () =>
  withFolder(async (folder) => {
    using model = createModel(1, { vocabSize: 200 });
    const path = await saveModel(folder, model);
    await Deno.writeFile(join(path, "tokenizer.json"), byteTokenizerJson());
    await assertRejects(
      () => loadModel(path, { device: CPU }),
      TokenizerError,
      `Cannot use ${path}/tokenizer.json with the model beside it as it has 257 ids: the model's vocabulary has 200`,
    );
  }));

Deno.test("loadModel() doubts a tokenizer of far fewer ids when the checkpoint was not saved with it", () =>
  withFolder(async (folder) => {
    using model = createModel(1, { vocabSize: 1000 });
    const own = await saveModel(folder, model, { step: 1, tokenizerJson: byteTokenizerJson() });
    const other = await saveModel(folder, model, { step: 2 });
    await Deno.writeFile(join(other, "tokenizer.json"), byteTokenizerJson());
    using sure = await loadModel(own, { device: CPU });
    using doubtful = await loadModel(other, { device: CPU });
    assertEquals(sure.tokenizerDoubt, null);
    assertStringIncludes(
      doubtful.tokenizerDoubt!,
      `${other}/tokenizer.json has 257 ids, the model's vocabulary 1000`,
    );
  }));

Deno.test("loadModel() refuses a tokenizer when it is not the copy that the checkpoint was saved with", () =>
  withFolder(async (folder) => {
    using model = createModel(1, { vocabSize: 1000 });
    const path = await saveModel(folder, model, { tokenizerJson: byteTokenizerJson() });
    const text = new TextDecoder().decode(byteTokenizerJson());
    await Deno.writeTextFile(join(path, "tokenizer.json"), `${text}\n`);
    await assertRejects(() => loadModel(path, { device: CPU }), CheckpointError, "tokenizer.json");
  }));

Deno.test("loadModel() loads the weights as they are when the model is not quantised", () =>
  withFolder(async (folder) => {
    using model = createModel(3, { quantization: "none", tieEmbeddings: false });
    const path = await saveModel(folder, model);
    using loaded = await loadModel(path, { device: CPU });
    const ids = [5, 6, 7, 8];
    assertSameBits({
      name: "logits",
      actual: loaded.model.forward(ids).logits,
      expected: model.forward(ids).logits,
    });
  }));

Deno.test("loadModel() keeps a ninth of the latent weights' memory or less when it packs them", () =>
  withFolder(async (folder) => {
    using model = createModel(1, { hiddenSize: 64, intermediateSize: 128, vocabSize: 8 });
    const path = await saveModel(folder, model);
    using loaded = await loadModel(path, { device: CPU });
    const bytes = (loaded.model.parameters.bytes.weights + loaded.model.derivedBytes) /
      model.parameters.bytes.weights;
    assert(bytes < 1 / 9, `${bytes} of the latent weights`);
  }));

Deno.test("loadModel() names the folder when it holds no model", () =>
  withFolder(async (folder) => {
    await assertRejects(() => loadModel(folder, { device: CPU }), CheckpointError, folder);
  }));

Deno.test("loadModel() names the key when a run's config.yaml has no whole sequence length", () =>
  withFolder(async (folder) => {
    using model = createModel();
    const path = await saveModel(folder, model, { runConfig: "training:\n  seq_len: long\n" });
    await assertRejects(
      () => loadModel(path, { device: CPU }),
      CheckpointError,
      'training.seq_len must be a whole number above 0: current value is "long"',
    );
  }));

Deno.test("loadModel() names the file when a run's config.yaml is no YAML", () =>
  withFolder(async (folder) => {
    using model = createModel();
    const path = await saveModel(folder, model, { runConfig: "training: [1\n" });
    await assertRejects(() => loadModel(path, { device: CPU }), CheckpointError, "config.yaml");
  }));

Deno.test("endIds() joins config.json's ids and the tokenizer's when both name some", () =>
  withFolder(async (folder) => {
    using model = createModel(1, { vocabSize: 257 });
    const path = await saveModel(folder, model, {
      tokenizerJson: byteTokenizerJson(),
      specialTokens: { bosTokenId: null, eosTokenId: [10, 13], padTokenId: null },
    });
    using loaded = await loadModel(path, { device: CPU });
    assertEquals([...endIds(loaded)].sort(), [10, 13, END_ID]);
  }));
