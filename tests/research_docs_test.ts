/** The examples of docs/research.md, as a reader would run them. */

import { assert, assertEquals, assertLess, assertMatch } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { openCheckpoint } from "../lib/checkpoint/open.ts";
import type { MetricsRecord, StepRecord } from "../lib/metrics/records.ts";
import { readRecords } from "../lib/metrics/sinks.ts";
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

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

async function start(folder: string, args: string[]): Promise<Deno.CommandOutput> {
  const config = `--config=${fromFileUrl(new URL("deno.json", ROOT))}`;
  return await new Deno.Command("deno", {
    args: [args[0]!, config, ...args.slice(1)],
    cwd: folder,
    env: { NO_COLOR: "1", TITANBIT_THREADS: "1" },
  }).output();
}

async function deno(folder: string, args: string[]): Promise<string> {
  const { success, stdout, stderr } = await start(folder, args);
  assert(success, text(stderr));
  return text(stdout);
}

Deno.test("docs/research.md shows files that type-check, and a run that trains with its own quantiser", async () => {
  await using run = await tinyRun();
  const files = await write(run);
  assertEquals(files, [
    ...["row_layers.ts", "run.ts", "four_bit_layers.ts", "scale_layers.ts", "own_loop.ts"],
    ...["mup_layers.ts", "check.ts", "metric_layers.ts", "observed.ts", "loop.ts"],
    "smooth_layers.ts",
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

Deno.test("docs/research.md shows an attention made of ops whose gradients agree, and that trains", async () => {
  await using run = await tinyRun();
  await write(run);
  const said = await deno(run.folder, ["run", "-A", "check.ts"]);
  assert(said.startsWith("Gradients agree: the worst, of attention: "), said);
  // A check that could not fail would be worth nothing.
  const file = join(run.folder, "mup_layers.ts");
  const code = await Deno.readTextFile(file);
  const [forward, backward] = code.split("override backward");
  const wrong = backward!.replace("1 / q.shape[3]!", "q.shape[3]! ** -0.5");
  await Deno.writeTextFile(file, `${forward}override backward${wrong}`);
  const { code: exit, stdout } = await start(run.folder, ["run", "-A", "check.ts"]);
  assertEquals(exit, 1);
  assertMatch(
    text(stdout),
    /^A gradient is wrong: the worst, of attention: .*where 0\.01 is allowed/,
  );
  await Deno.writeTextFile(file, code);
  assertFalls(await lossesWith(run, "mup_layers.ts"));
});

Deno.test("docs/research.md shows metrics from layers, an observer and a loop that arrive in the records", async () => {
  await using run = await tinyRun();
  await write(run);
  const jsonl = (await deno(run.folder, ["run", "-A", "observed.ts"])).trim();
  const metrics = stepsOf(await readRecords(jsonl)).map((record) => record.metrics!);
  assertEquals(metrics.length, 20);
  for (const one of metrics) {
    assertEquals(Object.keys(one).length, 8 + 1);
    assert(one["model.layers.1.mlp.down_proj.norm"]! > 0 && one["loss.best"]! > 0);
  }
  await deno(run.folder, ["run", "-A", "loop.ts"]);
  const loop = stepsOf(await readRecords(join(run.folder, "loop.jsonl")));
  assertEquals(loop.map(({ step }) => step), [1, 5, 10, 15, 20]);
  assert(loop.every(({ metrics }) => metrics!["loss.bits"]! > 0));
});

Deno.test("docs/research.md shows a loss with smoothed labels that trains, and whose gradient agrees", async () => {
  await using run = await tinyRun();
  await write(run);
  const file = join(run.folder, "check.ts");
  const code = await Deno.readTextFile(file);
  await Deno.writeTextFile(file, code.replace("mup_layers", "smooth_layers"));
  const said = await deno(run.folder, ["run", "-A", "check.ts"]);
  assert(said.startsWith("Gradients agree: the worst, of head: "), said);
  assertFalls(await lossesWith(run, "smooth_layers.ts"));
});

const stepsOf = (records: readonly MetricsRecord[]) =>
  records.filter((record): record is StepRecord => record.type === "step");

/** Losses of the page's run with layers of another of its files. */
async function lossesWith(run: TinyRun, layers: string): Promise<number[]> {
  const file = join(run.folder, "run.ts");
  const code = await Deno.readTextFile(file);
  await Deno.writeTextFile(file, code.replace("row_layers.ts", layers));
  const lines = (await deno(run.folder, ["run", "-A", "run.ts"])).trim().split("\n");
  return lines.slice(0, -1).map((line) => Number(line.split(" ")[1]));
}

function assertFalls(losses: readonly number[]): void {
  assertEquals(losses.length, 20);
  assertLess(losses.at(-1)!, losses[0]!);
}
