import { assertEquals, assertStringIncludes } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { lines, runFolder, runRecord, stepLines } from "../history/support.ts";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));

/** Starts a task as deno.json has it. */
function task(name: string, ...args: string[]): Deno.Command {
  return new Deno.Command("deno", {
    args: ["task", "--quiet", name, ...args],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  });
}

Deno.test("report writes a file, and says what is wrong with a run that has taken no step", async () => {
  await using run = await runFolder(lines(runRecord()) + stepLines(1, 5));
  const output = join(run.folder, "report.html");
  const { code } = await task("report", "--run", run.folder, "--output", output).output();
  assertEquals(code, 0);
  assertStringIncludes(Deno.readTextFileSync(output), "made-up");
  await using empty = await runFolder(lines(runRecord()));
  const refused = await task("report", "--run", empty.file, "--output", output).output();
  assertEquals(refused.code, 1);
  assertStringIncludes(new TextDecoder().decode(refused.stderr), "Cannot report on made-up");
});

Deno.test("report takes a folder of runs, a pattern and what a shell makes of one", async () => {
  const parent = await Deno.makeTempDir({ prefix: "titanbit_runs_" });
  const [a, b] = ["lr1", "lr2"].map((name) => join(parent, name)) as [string, string];
  for (const folder of [a, b]) {
    Deno.mkdirSync(folder);
    const text = lines(runRecord({ run: `run ${folder.at(-1)}` })) + stepLines(1, 5);
    Deno.writeTextFileSync(join(folder, "metrics.jsonl"), text);
  }
  const output = join(parent, "report.html");
  for (const args of [["--run", parent], ["--run", join(parent, "lr*")], ["--run", a, b]]) {
    const { code, stderr } = await task("report", ...args, "--output", output).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    assertStringIncludes(Deno.readTextFileSync(output), "<h1>run 1, run 2</h1>");
  }
  await Deno.remove(parent, { recursive: true });
});

Deno.test("dashboard serves with the permissions of its task until it is interrupted", async () => {
  await using run = await runFolder(lines(runRecord()) + stepLines(1, 5));
  await using other = await runFolder(lines(runRecord()) + stepLines(1, 7));
  const args = ["--run", run.folder, other.folder, "--port", "0", "--host", "0.0.0.0"];
  const process = task("dashboard", ...args).spawn();
  await process.stdout.cancel();
  let said = "";
  for await (const chunk of process.stderr.pipeThrough(new TextDecoderStream())) {
    said += chunk;
    const address = /:(\d+)\/(\?token=\w{32})\n/.exec(said);
    if (address === null) continue;
    const base = `http://127.0.0.1:${address[1]}/`;
    const refused = await fetch(`${base}api/runs`);
    assertEquals([refused.status, await refused.text() !== ""], [401, true]);
    const headers = { authorization: `Bearer ${address[2]!.slice("?token=".length)}` };
    const { runs } = await (await fetch(`${base}api/runs`, { headers })).json();
    assertEquals(runs.map(({ rows }: { rows: number }) => rows), [5, 7]);
    process.kill("SIGTERM");
  }
  assertEquals((await process.status).code, 0, said);
});

Deno.test("report says what is wrong with its output, before it reads a run", async () => {
  await using run = await runFolder(lines(runRecord()) + stepLines(1, 5));
  const output = join(run.folder, "none", "report.html");
  for (const path of [output, run.folder]) {
    const { code, stderr } = await task("report", "--run", run.folder, "--output", path).output();
    assertEquals(code, 1);
    assertStringIncludes(new TextDecoder().decode(stderr), `error: Cannot write --output ${path}`);
  }
});

Deno.test("dist refuses a file as its output before it packs anything", async () => {
  await using run = await runFolder(lines(runRecord()));
  const { code, stdout, stderr } = await task("dist", "--output", run.file).output();
  assertEquals([code, stdout.length], [1, 0]);
  assertStringIncludes(new TextDecoder().decode(stderr), `as ${run.file} must be a folder`);
});
