/** The network beside Hugging Face's `BitNetForCausalLM`; tests/reference/bitnet_fixtures.py wrote the fixtures. */

import { assertEquals, assertLess } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { SafetensorsFile } from "../../lib/interop/safetensors.ts";
import { BitNetConfig } from "../../lib/model/config.ts";
import { BitNetTransformer } from "../../lib/model/transformer.ts";
import { hasCuda } from "../support/devices.ts";

const TOLERANCE = 1e-5;

interface Golden extends Disposable {
  readonly model: BitNetTransformer;
  readonly ids: Int32Array[];
  /** A tensor that Hugging Face computed. */
  expected(name: string): Float32Array;
}

async function openGolden(name: string, device: "cpu" | "cuda"): Promise<Golden> {
  using file = SafetensorsFile.open(
    fromFileUrl(new URL(`../golden/bitnet_${name}.safetensors`, import.meta.url)),
  );
  const tensors = new Map<string, ArrayBuffer>();
  for (const [name, { begin, end }] of file.tensors) {
    const bytes = new Uint8Array(end - begin);
    await file.readInto(name, bytes, 0);
    tensors.set(name, bytes.buffer);
  }
  const expected = (name: string) => new Float32Array(tensors.get(name)!);
  const made = JSON.parse(file.metadata.config!);
  const config = new BitNetConfig({
    vocabSize: made.vocab_size,
    hiddenSize: made.hidden_size,
    numLayers: made.num_hidden_layers,
    numHeads: made.num_attention_heads,
    numKvHeads: made.num_key_value_heads,
    intermediateSize: made.intermediate_size,
    hiddenAct: made.hidden_act,
    tieEmbeddings: made.tie_word_embeddings,
    rmsNormEps: made.rms_norm_eps,
    ropeTheta: made.rope_theta,
  });
  const model = BitNetTransformer.create(config, {
    device,
    dtype: "float32",
    seed: null,
  });
  for (const { name, value } of model.parameters.all) value.upload(expected(`weights.${name}`));
  model.parametersChanged();
  const values = new Int32Array(tensors.get("input_ids")!);
  const [sequences, tokens] = file.tensors.get("input_ids")!.shape as [number, number];
  const ids = Array.from(
    { length: sequences },
    (_, row) => values.subarray(row * tokens, (row + 1) * tokens),
  );
  return { model, ids, expected, [Symbol.dispose]: () => model[Symbol.dispose]() };
}

/** Largest difference over the largest expected value; NaN where either holds one. */
function relativeError(actual: Float32Array, expected: Float32Array): number {
  assertEquals(actual.length, expected.length);
  let scale = 0;
  let worst = 0;
  for (const [index, value] of expected.entries()) {
    scale = Math.max(scale, Math.abs(value));
    worst = Math.max(worst, Math.abs(actual[index]! - value));
  }
  return worst / scale;
}

for (const name of ["silu_gqa_tied", "relu2_untied"]) {
  for (const device of ["cpu", "cuda"] as const) {
    const ignore = device === "cuda" && !hasCuda();
    const goldenTest = (claim: string, fn: () => Promise<void>) =>
      Deno.test({
        name: ignore ? `cuda: no device found, skipped: ${claim}` : `${device}: ${claim}`,
        ignore,
        fn,
      });

    goldenTest(`forward() gives Hugging Face's logits for ${name}`, async () => {
      using golden = await openGolden(name, device);
      const { logits } = golden.model.forward(golden.ids);
      assertLess(relativeError(logits as Float32Array, golden.expected("logits")), TOLERANCE);
    });

    goldenTest(`forward() gives Hugging Face's loss for ${name}`, async () => {
      using golden = await openGolden(name, device);
      const { loss } = golden.model.forward(golden.ids, { labels: golden.ids });
      const [expected] = golden.expected("loss");
      assertLess(Math.abs(loss! - expected!) / expected!, TOLERANCE);
    });

    goldenTest(
      `backward() gives Hugging Face's gradient of every parameter for ${name}`,
      async () => {
        using golden = await openGolden(name, device);
        golden.model.forward(golden.ids, { labels: golden.ids });
        golden.model.backward();
        for (const { name, grad } of golden.model.parameters.all) {
          const expected = golden.expected(`gradients.${name}`);
          const error = relativeError(grad!.toFloat32Array(), expected);
          assertLess(error, TOLERANCE, `${name}: relative error ${error}`);
        }
      },
    );
  }
}
