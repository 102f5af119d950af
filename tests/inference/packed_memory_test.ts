import { assertEquals } from "@std/assert";
import { measurePackedProjections } from "../../lib/inference/packed_memory.ts";
import { BitNetConfig } from "../../lib/model/config.ts";
import { countParameters } from "../../lib/model/flops.ts";
import { PRESET_NAMES, presetOptions } from "../../lib/model/presets.ts";

Deno.test("measurePackedProjections() finds 16 to 1 in the buffers of every named size", () => {
  for (const name of PRESET_NAMES) {
    const config = new BitNetConfig(presetOptions(name));
    const measured = measurePackedProjections(config)!;
    assertEquals(measured.float32_to_packed, 16, name);
    assertEquals(measured.float32_bytes, 4 * countParameters(config).ternary, name);
    assertEquals(measured.float32_bytes, 16 * measured.packed_bytes, name);
  }
});

Deno.test("measurePackedProjections() counts what rows are filled up with", () => {
  const config = new BitNetConfig({
    hiddenSize: 24,
    numLayers: 1,
    numHeads: 2,
    numKvHeads: 1,
    intermediateSize: 40,
    vocabSize: 10,
  });
  // Outputs: q 24, k and v 12 each, o 24, gate and up 40 each, from 24 inputs in 2 words; down 24 from 40 in 3.
  const rows = 24 + 12 + 12 + 24 + 40 + 40;
  assertEquals(measurePackedProjections(config), {
    float32_bytes: 4 * (rows * 24 + 24 * 40),
    packed_bytes: 4 * (rows * 2 + 24 * 3),
    scale_bytes: 4 * (rows + 24),
    float32_to_packed: (rows * 24 + 24 * 40) / (rows * 2 + 24 * 3),
  });
});

Deno.test("measurePackedProjections() is null when nothing is ternary", () => {
  const options = { ...presetOptions("125M"), quantization: "none" as const };
  assertEquals(measurePackedProjections(new BitNetConfig(options)), null);
});
