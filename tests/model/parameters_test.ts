import { assert, assertEquals, assertThrows } from "@std/assert";
import { NativeError } from "../../lib/ffi/errors.ts";
import { BitNetConfig } from "../../lib/model/config.ts";
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
