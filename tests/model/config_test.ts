import { assertThrows } from "@std/assert";
import { BitNetConfig, type BitNetConfigOptions } from "../../lib/model/config.ts";
import { Linear } from "../../lib/model/linear.ts";
import { BitNetTransformer } from "../../lib/model/transformer.ts";

const SIZES = { vocabSize: 64, hiddenSize: 32, numLayers: 1, numHeads: 2 };

const WRONG: [Record<string, unknown>, string][] = [
  [{ quantization: "int4" }, 'quantization must be ternary or none: current value is "int4"'],
  [{ hiddenAct: "gelu" }, 'hiddenAct must be silu or relu2: current value is "gelu"'],
  [{ activationQuant: 8 }, "activationQuant must be absmax or absmean: current value is 8"],
  [{ tieEmbeddings: "no" }, 'tieEmbeddings must be true or false: current value is "no"'],
];
for (const [options, message] of WRONG) {
  const [name] = Object.keys(options);
  Deno.test(`BitNetConfig names the legal values when ${name} is none of them`, () => {
    const given = { ...SIZES, ...options } as BitNetConfigOptions;
    assertThrows(() => new BitNetConfig(given), RangeError, message);
  });
}

Deno.test("Linear names the config's key when the model quantises its input", () => {
  using model = BitNetTransformer.create(new BitNetConfig(SIZES), {
    device: { kind: "cpu", threads: 1 },
    layers: { projection: (spec) => new Linear(spec) },
  });
  assertThrows(() => model.forward([1, 2, 3]), TypeError, '`quantization: "none"`');
});
