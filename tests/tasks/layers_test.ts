/** Commands with layers of the user's own, from a file. */

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { readRecords } from "../../lib/metrics/sinks.ts";
import type { StepRecord } from "../../lib/metrics/records.ts";
import { tinyRun } from "../training/support.ts";
import { runTask, withCheckpoint } from "./support.ts";

const ROWS = fromFileUrl(new URL("../training/row_layers.ts", import.meta.url));

const losses = async (run: string) =>
  (await readRecords(join(run, "metrics.jsonl")))
    .filter((record): record is StepRecord => record.type === "step").map(({ loss }) => loss);

Deno.test("train --layers FILE trains with the file's layers, and a resume asks for it again", async () => {
  await using run = await tinyRun();
  const args = ["--config", run.file, "--set", "logging.console=plain"];
  const own = await runTask("train", [...args, "--layers", ROWS]);
  assertEquals(own.code, 0, own.stderr);
  const whole = await losses(run.run);
  const plain = await runTask("train", [...args, "--set", "checkpoint.run=plain"]);
  assertEquals(plain.code, 0, plain.stderr);
  assertNotEquals(whole, await losses(join(run.folder, "checkpoints", "plain")));

  await Deno.remove(join(run.run, "step_0000020"), { recursive: true });
  const bare = await runTask("train", [...args, "--resume", "latest"]);
  assertEquals(bare.code, 1);
  assertMatch(bare.stderr, /layers of kind projection .*--layers FILE/);
  const resumed = await runTask("train", [...args, "--resume", "latest", "--layers", ROWS]);
  assertEquals(resumed.code, 0, resumed.stderr);
  assertEquals(await losses(run.run), whole);
});

Deno.test("train --layers FILE ends before anything is written when the file is none of layers", async () => {
  await using run = await tinyRun();
  const missing = join(run.folder, "none.ts");
  const empty = join(run.folder, "empty.ts");
  await Deno.writeTextFile(empty, "export const layer = {};");
  for (
    const [file, message] of [
      [missing, /^error: Cannot take the layers of .*none\.ts as the module must be importable/m],
      [
        empty,
        /^error: Cannot take the layers of .*empty\.ts as the module must export an object `layers`/m,
      ],
    ] as const
  ) {
    const { code, stderr } = await runTask("train", ["--config", run.file, "--layers", file]);
    assertEquals(code, 1);
    assertMatch(stderr, message);
    assert(!/\n +at /.test(stderr), "a stack trace");
  }
  assert(![...Deno.readDirSync(run.folder)].some(({ name }) => name === "checkpoints"));
});

Deno.test("generate and evaluate take a model with its own layers by --layers FILE, and refuse it without", () =>
  withCheckpoint(async ({ folder, checkpoint }) => {
    const file = join(checkpoint, "config.json");
    const config = JSON.parse(await Deno.readTextFile(file));
    await Deno.writeTextFile(
      file,
      JSON.stringify({ ...config, titanbit_own_layers: ["projection"] }),
    );
    await Deno.remove(join(checkpoint, "checksums.json"));
    const text = join(folder, "text.txt");
    await Deno.writeTextFile(text, "Some words to score, and some more of them.\n".repeat(4));
    for (
      const [task, args] of [
        ["generate", ["--prompt", "ab", "--max-tokens", "4"]],
        ["evaluate", ["--data", text]],
      ] as const
    ) {
      const common = ["--checkpoint", checkpoint, ...args];
      const bare = await runTask(task, common);
      assertEquals(bare.code, 1);
      assertMatch(bare.stderr, /^error: .*layers of kind projection .*--layers FILE/);
      const own = await runTask(task, [...common, "--layers", ROWS]);
      assertEquals(own.code, 0, own.stderr);
    }
  }));
