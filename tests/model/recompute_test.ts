import { assert, assertEquals, assertLess } from "@std/assert";
import { Device } from "../../lib/ffi/device.ts";
import type { Recompute } from "../../lib/model/activations.ts";
import { BitNetConfig, type BitNetConfigOptions } from "../../lib/model/config.ts";
import { BitNetTransformer } from "../../lib/model/transformer.ts";

const SHAPE: BitNetConfigOptions = {
  vocabSize: 37,
  hiddenSize: 24,
  numLayers: 3,
  numHeads: 4,
  numKvHeads: 2,
  intermediateSize: 40,
  initStd: 0.2,
};
const SEQUENCES = 2;
const TOKENS = 7;

/** Loss and gradients of two passes over the same memory, the second on other tokens. */
function trained(device: Device, recompute: Recompute, options: Partial<BitNetConfigOptions>) {
  const config = new BitNetConfig({ ...SHAPE, ...options });
  using model = BitNetTransformer.create(config, { device, seed: 7 });
  using pass = model.plan({ sequences: SEQUENCES, tokens: TOKENS, training: true, recompute })
    .commit(device);
  const losses: number[] = [];
  for (const stride of [5, 11]) {
    const ids = Int32Array.from(
      { length: SEQUENCES * TOKENS },
      (_, i) => (i * stride + 3) % config.vocabSize,
    );
    pass.ids.upload(ids);
    pass.targets.upload(ids.map((id) => (id + 1) % config.vocabSize));
    pass.forward();
    pass.backward({ gradScale: 1 / ids.length });
    pass.addLoss({ scale: 1 / ids.length, first: true });
    losses.push(pass.readLoss());
  }
  return {
    losses,
    gradients: model.parameters.all.map(({ name, grad }) => [name, grad!.toFloat32Array()]),
    bytes: pass.memory.bytes,
  };
}

for (const quantization of ["ternary", "none"] as const) {
  for (const recompute of ["mlp", "block"] as const) {
    Deno.test(`recompute ${recompute} gives the bits of none when quantization is ${quantization}`, () => {
      using device = Device.open({ kind: "cpu" });
      const plain = trained(device, "none", { quantization });
      const again = trained(device, recompute, { quantization });
      assertEquals(again.losses, plain.losses);
      assertEquals(again.gradients, plain.gradients);
      assert(again.gradients.every(([, grad]) => (grad as Float32Array).some((x) => x !== 0)));
    });
  }
}

Deno.test("recompute needs less memory from none to mlp to block", () => {
  const model = new BitNetTransformer(new BitNetConfig({ ...SHAPE, numLayers: 8 }), {
    training: true,
  });
  const [none, mlp, block] = (["none", "mlp", "block"] as const).map((recompute) => {
    const { bytes } = model.plan({ sequences: 4, tokens: 64, training: true, recompute }).memory;
    return bytes.activations + bytes.workspace;
  });
  assertLess(mlp!, none!);
  assertLess(block!, mlp!);
});
