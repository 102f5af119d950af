import { assert, assertEquals } from "@std/assert";
import { BitNetConfig } from "../../lib/model/config.ts";
import { countParameters } from "../../lib/model/flops.ts";
import {
  findPresetName,
  MODEL_PRESETS,
  PRESET_NAMES,
  presetOptions,
} from "../../lib/model/presets.ts";

for (const name of PRESET_NAMES) {
  Deno.test(`preset ${name} builds, within 8% of its name, with an MLP of whole 256-wide blocks`, () => {
    const config = new BitNetConfig(presetOptions(name));
    const { total } = countParameters(config);
    assert(Math.abs(total / MODEL_PRESETS[name].nominalParameters - 1) <= 0.08, `${total}`);
    assertEquals(config.intermediateSize % 256, 0);
    assertEquals(config.vocabSize, 32000);
  });
}

Deno.test("findPresetName() ignores case and spaces, and knows no other name", () => {
  assertEquals([findPresetName(" 1.3b"), findPresetName("3B"), findPresetName("7B")], [
    "1.3B",
    "3B",
    undefined,
  ]);
});
