/** Rights of the training's thread. */

import { assertEquals, assertRejects } from "@std/assert";
import { join, toFileUrl } from "@std/path";
import { runTraining, trainingPermissions } from "../../lib/training/run.ts";
import { recorder, tinyRun } from "./support.ts";

/** A module of layers whose import does `action`. */
async function layersThat(folder: string, action: string): Promise<URL> {
  const file = join(folder, "layers.ts");
  await Deno.writeTextFile(file, `export const layers = {};\n${action};\n`);
  return toFileUrl(file);
}

Deno.test("trainingPermissions() lets the training's thread write to its run's folder alone, and reach nobody", async () => {
  await using run = await tinyRun();
  const config = run.config();
  const permissions = trainingPermissions(config);
  const refused: Record<string, string> = {
    [`Deno.writeTextFileSync("${run.folder}/other", "")`]: "Requires write access",
    [`await Deno.connect({ hostname: "127.0.0.1", port: 9 })`]: "Requires net access",
    [`Deno.listen({ hostname: "127.0.0.1", port: 0 })`]: "Requires net access",
  };
  for (const [action, reason] of Object.entries(refused)) {
    const layers = await layersThat(run.folder, action);
    const options = { layers, permissions, version: "0", observer: recorder() };
    await assertRejects(() => runTraining(config, options), Error, reason);
  }
  const layers = await layersThat(run.folder, `Deno.writeTextFileSync("${run.run}/mine", "")`);
  const options = { layers, permissions, version: "0", observer: recorder() };
  assertEquals((await runTraining(config, options)).state.step, 20);
  assertEquals(await Deno.readTextFile(join(run.run, "mine")), "");
});
