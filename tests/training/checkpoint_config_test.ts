import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { ConfigError } from "../../lib/config/errors.ts";
import { outsideSettings, requireInside } from "../../lib/training/checkpoint_config.ts";
import { runTask } from "../tasks/support.ts";
import { tinyRun } from "./support.ts";

/** A run with a folder that looks like that of a checkpoint, and what its config may be. */
async function runWithCheckpoint() {
  const run = await tinyRun();
  const checkpoint = join(run.run, "step_0000010");
  await Deno.mkdir(checkpoint, { recursive: true });
  return { ...run, checkpoint };
}

Deno.test("outsideSettings() names what a checkpoint's config would write or listen to outside its run's folder", async () => {
  await using run = await runWithCheckpoint();
  const { checkpoint, folder } = run;
  await Deno.symlink(folder, join(folder, "link"));
  await Deno.mkdir(join(run.run, "logs"));
  const cases: Record<string, string[]> = {
    "": [],
    [`logging.jsonl=${run.run}/logs/a.jsonl`]: [],
    [`logging.jsonl=${folder}/link/checkpoints/tiny/a.jsonl`]: [],
    [`logging.jsonl=${folder}/.bashrc`]: ["logging.jsonl"],
    [`logging.jsonl=${run.run}/../other.jsonl`]: ["logging.jsonl"],
    "logging.jsonl=relative.jsonl": ["logging.jsonl"],
    [`logging.tensorboard=${folder}/events`]: ["logging.tensorboard"],
    [`logging.tensorboard=${run.run}/events`]: [],
    "logging.prometheus=9464": [],
    'logging.prometheus="[::1]:9464"': [],
    "logging.prometheus=0.0.0.0:9464": ["logging.prometheus"],
    "logging.prometheus=localhost.evil.example:9464": ["logging.prometheus"],
    "checkpoint.run=other": ["checkpoint.run"],
    [`checkpoint.directory=${folder}`]: ["checkpoint.directory", "checkpoint.run"],
    [`checkpoint.directory=${folder}/link/checkpoints`]: [],
  };
  for (const [set, expected] of Object.entries(cases)) {
    const config = run.config(...(set === "" ? [] : [set]));
    const found = outsideSettings({ config, checkpoint, given: [] });
    assertEquals(found.map(({ key }) => key), expected, set);
    const key = set.slice(0, set.indexOf("="));
    const given = [key, "checkpoint.run"];
    assertEquals(outsideSettings({ config, checkpoint, given }), [], set);
    if (expected.length === 0) continue;
    const error = assertThrows(
      () => requireInside({ config, checkpoint, given: [] }),
      ConfigError,
      expected[0],
    );
    assertStringIncludes(error.message, "--trust-config");
  }
});

Deno.test("outsideSettings() names symbolic links in the run's folder, which would be written through", async () => {
  await using run = await runWithCheckpoint();
  await Deno.writeTextFile(join(run.folder, "profile"), "mine\n");
  await Deno.symlink("../../profile", join(run.run, "metrics.jsonl"));
  const { checkpoint } = run;
  const found = outsideSettings({ config: run.config(), checkpoint, given: [] });
  assertEquals(found.map(({ source, key }) => [source, key]), [
    [join(run.checkpoint, "config.yaml"), "logging.jsonl"],
    [join(run.run, "metrics.jsonl"), ""],
  ]);
});

Deno.test("train --resume writes nothing outside the run's folder that a checkpoint's config names", async () => {
  await using run = await tinyRun();
  const target = join(run.folder, "profile");
  const set = ["--set", "training.steps=6", "--set", `logging.jsonl=${target}`];
  const first = await runTask("train", ["--config", run.file, ...set]);
  assertEquals(first.code, 0, first.stderr);
  await Deno.writeTextFile(target, "mine\n");
  const args = ["--resume", run.run, "--set", "training.steps=7"];
  const refused = await runTask("train", args);
  assertEquals(refused.code, 1, refused.stderr);
  assertStringIncludes(refused.stderr, `logging.jsonl: expected a path in the run's folder`);
  assertEquals(await Deno.readTextFile(target), "mine\n");
  const given = await runTask("train", [...args, "--set", "logging.jsonl=null"]);
  assertEquals(given.code, 0, given.stderr);
  const trusted = await runTask("train", [
    ...["--resume", run.run, "--set", "training.steps=8", "--trust-config"],
    ...["--set", `checkpoint.run=other`],
  ]);
  assertEquals(trusted.code, 0, trusted.stderr);
  assert((await Deno.stat(join(run.folder, "checkpoints/other"))).isDirectory);
});
