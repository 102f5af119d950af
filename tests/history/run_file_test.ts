import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { Dashboard } from "../../lib/dashboard/server.ts";
import { readHistory } from "../../lib/history/read_history.ts";
import { readRunText } from "../../lib/history/run_file.ts";
import { findRun } from "../../lib/history/run_files.ts";
import { lines, runFolder, runRecord, stepLines } from "./support.ts";

const RECORDS = lines(runRecord()) + stepLines(1, 20);

/** Makes a checkpoint's folder with a config that is a link to a file outside of the run. */
async function linkConfig(folder: string): Promise<string> {
  const secret = await Deno.makeTempFile();
  await Deno.writeTextFile(secret, "secret: text\n");
  await Deno.mkdir(join(folder, "step_0000010"));
  await Deno.symlink(secret, join(folder, "step_0000010", "config.yaml"));
  return secret;
}

Deno.test("readHistory() refuses a config and records that are links, devices or folders, by name", async () => {
  await using run = await runFolder(RECORDS);
  const secret = await linkConfig(run.folder);
  const expect = async (path: string, found: string) => {
    const { message } = await assertRejects(() => readHistory(findRun(run.folder)), Error);
    assertStringIncludes(message, `Cannot read ${join(run.folder, path)} as a run's files must be`);
    assertStringIncludes(message, found);
  };
  await expect("step_0000010/config.yaml", "current value is a symbolic link;");
  for (const target of [secret, "/dev/zero"]) {
    await Deno.remove(run.file);
    await Deno.symlink(target, run.file);
    await expect("metrics.jsonl", "current value is a symbolic link;");
  }
  await Deno.remove(run.file);
  await Deno.mkdir(run.file);
  await expect("metrics.jsonl", "current value is a folder;");
  await Deno.remove(run.file);
  await new Deno.Command("mkfifo", { args: [run.file] }).output();
  await expect("metrics.jsonl", "current value is a device, pipe or socket;");
  await Deno.remove(secret);
});

Deno.test("readRunText() refuses what is too large or outside the folder, and is null for what isn't there", async () => {
  await using run = await runFolder("12345");
  await using other = await runFolder("12345");
  const rules = { folder: run.folder, mostBytes: 5 };
  assertEquals(readRunText(run.file, rules), "12345");
  assertEquals(readRunText(join(run.folder, "none"), rules), null);
  assertThrows(() => readRunText(run.file, { ...rules, mostBytes: 4 }), Error, "is 5 bytes;");
  await Deno.symlink(other.folder, join(run.folder, "step"));
  const outside = join(run.folder, "step", "metrics.jsonl");
  assertThrows(() => readRunText(outside, rules), Error, "current value is a file at");
});

Deno.test("Dashboard shows the other runs, and says what it can't read, where a run's files are links", async () => {
  await using good = await runFolder(RECORDS);
  await using bad = await runFolder(RECORDS);
  const secret = await linkConfig(bad.folder);
  await Deno.remove(bad.file);
  await Deno.symlink("/dev/zero", bad.file);
  const warnings: string[] = [];
  await using dashboard = Dashboard.serve({
    ...{ runs: [{ path: good.folder }, { path: bad.folder }], port: 0 },
    warn: (message) => void warnings.push(message),
  });
  const response = await fetch(new URL("/api/runs", dashboard.url));
  const text = await response.text();
  const [first, second] = JSON.parse(text).runs;
  assertEquals([first.rows, first.problems], [20, []]);
  assertEquals([second.rows, second.problems.length], [0, 2]);
  assertStringIncludes(second.problems[0], `Cannot read ${bad.file}`);
  assertEquals(text.includes("secret: text"), false);
  await fetch(new URL("/api/runs", dashboard.url)).then((again) => again.body?.cancel());
  assertEquals(warnings.length, 2, "each is warned of once");
  await Deno.remove(secret);
});
