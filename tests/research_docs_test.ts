/** The examples of docs/research.md, as a reader would run them. */

import { assert, assertEquals, assertLess } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { openCheckpoint } from "../lib/checkpoint/open.ts";
import { type TinyRun, tinyRun } from "./training/support.ts";

const ROOT = new URL("../", import.meta.url);

/** Writes the page's files beside a tiny run's config, which takes the place of the one that they name. */
async function write(run: TinyRun): Promise<string[]> {
  const page = await Deno.readTextFile(new URL("docs/research.md", ROOT));
  const files = [...page.matchAll(/^```ts\n\/\/ (\S+)\n(.*?)^```$/gms)];
  for (const [, name, code] of files) {
    const placed = code!.replaceAll("./mod.ts", new URL("mod.ts", ROOT).href)
      .replaceAll("configs/quickstart.yaml", run.file);
    await Deno.writeTextFile(join(run.folder, name!), placed);
  }
  return files.map(([, name]) => name!);
}

async function deno(folder: string, args: string[]): Promise<string> {
  const config = `--config=${fromFileUrl(new URL("deno.json", ROOT))}`;
  const { success, stdout, stderr } = await new Deno.Command("deno", {
    args: [args[0]!, config, ...args.slice(1)],
    cwd: folder,
    env: { NO_COLOR: "1", TITANBIT_THREADS: "1" },
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

Deno.test("docs/research.md shows files that type-check, and a run that trains with its own quantiser", async () => {
  await using run = await tinyRun();
  const files = await write(run);
  assertEquals(files, [
    ...["row_layers.ts", "run.ts", "four_bit_layers.ts"],
    ...["scale_layers.ts", "own_loop.ts"],
  ]);
  await deno(run.folder, ["check", ...files]);
  const lines = (await deno(run.folder, ["run", "-A", "run.ts"])).trim().split("\n");
  const losses = lines.slice(0, -1).map((line) => Number(line.split(" ")[1]));
  assertEquals(losses.length, 20);
  assertLess(losses.at(-1)!, losses[0]!);
  assert(lines.at(-1)!.endsWith("checkpoints/rows/step_0000020"), lines.at(-1)!);
});

Deno.test("docs/research.md shows a quantiser of activations that trains under quantization: none", async () => {
  await using run = await tinyRun();
  await write(run);
  const page = join(run.folder, "run.ts");
  const code = (await Deno.readTextFile(page)).replace("row_layers", "four_bit_layers")
    .replace("checkpoint.run=rows", 'checkpoint.run=four", "model.quantization=none');
  await Deno.writeTextFile(page, code);
  const lines = (await deno(run.folder, ["run", "-A", "--check", "run.ts"])).trim().split("\n");
  assertLess(Number(lines[19]!.split(" ")[1]), Number(lines[0]!.split(" ")[1]));
});

Deno.test("docs/research.md shows a parameter more that is trained, saved and loaded", async () => {
  await using run = await tinyRun();
  await write(run);
  const page = join(run.folder, "run.ts");
  const code = (await Deno.readTextFile(page)).replace("row_layers", "scale_layers");
  await Deno.writeTextFile(page, code);
  const lines = (await deno(run.folder, ["run", "-A", "run.ts"])).trim().split("\n");
  assertLess(Number(lines[19]!.split(" ")[1]), Number(lines[0]!.split(" ")[1]));
  const { ownParameters } = await openCheckpoint(lines.at(-1)!);
  assertEquals(ownParameters.length, 8);
});

Deno.test("docs/research.md shows a loop whose weights another model loads", async () => {
  await using run = await tinyRun();
  await write(run);
  const lines = (await deno(run.folder, ["run", "-A", "own_loop.ts"])).trim().split("\n");
  const losses = lines.map((line) => Number(line.split(" ")[1]));
  assertEquals(losses.length, 21);
  assertLess(losses[19]!, 0.8 * losses[0]!);
  assertLess(losses[20]!, losses[19]!);
  assertEquals(lines[20]!.split(" ")[0], "64");
});
