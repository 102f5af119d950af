import { assertEquals } from "@std/assert";
import { MODEL_PRESETS } from "../../lib/model/presets.ts";

Deno.test("torch_model.py has the shapes of MODEL_PRESETS", () => {
  const source = Deno.readTextFileSync(new URL("./torch_model.py", import.meta.url));
  const rows = source.matchAll(/^ {4}"(\S+)": \((\d+), (\d+), (\d+), (\d+), (\d+)\),$/gm);
  const shapes = Object.fromEntries(
    Array.from(rows, ([, name, ...sizes]) => [name, sizes.map(Number)]),
  );
  const expected = Object.entries(MODEL_PRESETS).map(([name, preset]) => [name, [
    preset.hiddenSize,
    preset.numLayers,
    preset.numHeads,
    preset.numKvHeads,
    preset.intermediateSize,
  ]]);
  assertEquals(shapes, Object.fromEntries(expected));
});
