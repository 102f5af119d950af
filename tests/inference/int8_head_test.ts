import { assert, assertEquals } from "@std/assert";
import { TokenGenerator } from "../../lib/inference/generate.ts";
import { Int8Head, quantizeRows } from "../../lib/inference/int8_head.ts";
import { loadModel } from "../../lib/inference/load_model.ts";
import { BitNetTransformer } from "../../lib/model/transformer.ts";
import { Arena } from "../../lib/tensor/arena.ts";
import { int8Bits } from "../kernels/gemm_int8/reference.ts";
import { assertSameBits } from "../support/compare.ts";
import { openCpu } from "../support/devices.ts";
import { Random } from "../support/random.ts";
import { saveModel, tinyConfig, withFolder } from "./support.ts";

Deno.test("quantizeRows() gives each row's largest value 127 and rounds halves to even", () => {
  const { q, scale } = quantizeRows(
    Float32Array.from([254, 1, 3, -5, 0, 0, 0, 0, 0.5, -1, 0, 1]),
    4,
  );
  assertEquals([...q], [127, 0, 2, -2, 0, 0, 0, 0, 64, -127, 0, 127]);
  assertEquals([scale[0], scale[2]], [2, Math.fround(1 / 127)]);
  assert(scale[1]! > 0, "a row of zeros needs a factor too");
});

Deno.test("quantizeRows() gives a row with NaN a factor that shows it", () => {
  const { scale } = quantizeRows(Float32Array.from([1, NaN, 3, 4]), 2);
  assertEquals([...scale].map(Number.isFinite), [false, true]);
});

for (const tieEmbeddings of [true, false]) {
  Deno.test(
    `Int8Head gives the product of quantised rows when embeddings are ${
      tieEmbeddings ? "tied" : "apart"
    }`,
    () =>
      withFolder(async (folder) => {
        using device = openCpu();
        const config = tinyConfig({ hiddenSize: 36, numHeads: 6, tieEmbeddings });
        using trained = BitNetTransformer.create(config, { device, training: false, seed: 5 });
        const path = await saveModel(folder, trained);
        using loaded = await loadModel(path, { device, head: "int8" });
        const { model } = loaded;
        assert(model.head instanceof Int8Head);
        model.forward([1]); // derives the weights
        using arena = new Arena("test");
        const [M, K, N] = [3, 36, 101];
        const x = arena.tensor("x", "float32", [M, K]), y = arena.tensor("y", "float32", [M, N]);
        arena.commit(device);
        const values = new Random(11).normals(M * K);
        x.upload(values);
        model.head.logits(x, y);
        const { q: w, scale: wScale } = quantizeRows(model.head.weight.value.toFloat32Array(), K);
        assertSameBits({
          name: "logits",
          actual: y.toFloat32Array(),
          expected: int8Bits({ x: values, w, wScale }, { M, N, K }),
        });
        assertEquals(model.head.bytes, N * K + 4 * N);
      }),
  );
}

Deno.test("loadModel() keeps the head as it is unless it is told, and makes it int8 with auto on the CPU", () =>
  withFolder(async (folder) => {
    using device = openCpu();
    using trained = BitNetTransformer.create(tinyConfig(), { device, training: false, seed: 2 });
    const path = await saveModel(folder, trained);
    for (
      const [head, isInt8] of [[undefined, false], ["float32", false], ["auto", true]] as const
    ) {
      using loaded = await loadModel(path, { device, ...(head !== undefined && { head }) });
      assertEquals(loaded.model.head instanceof Int8Head, isInt8);
    }
  }));

Deno.test("TokenGenerator writes the same greedy text from packed and unpacked weights", () =>
  withFolder(async (folder) => {
    using device = openCpu();
    using trained = BitNetTransformer.create(tinyConfig(), { device, training: false, seed: 9 });
    const path = await saveModel(folder, trained);
    for (const head of ["float32", "int8"] as const) {
      using packed = await loadModel(path, { device, head });
      using unpacked = await loadModel(path, { device, head, packed: false });
      const [text, expected] = [packed, unpacked].map(({ model }) => {
        using generator = new TokenGenerator(model, { capacity: 48 });
        return [...generator.generate([3, 1, 4, 1, 5], { maxTokens: 40, temperature: 0 })];
      });
      assertEquals(text!.length, 40);
      assertEquals(text, expected);
    }
  }));
