import { assertEquals, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { findRuns } from "../../lib/history/find_runs.ts";
import { lines, runRecord } from "./support.ts";

/** A folder of the runs `lr1`, `lr2` and `lr10`, of a folder without records and of a text. */
async function folderOfRuns(): Promise<AsyncDisposable & { folder: string }> {
  const folder = await Deno.makeTempDir({ prefix: "titanbit_runs_" });
  for (const name of ["lr1", "lr2", "lr10", "lr_empty"]) {
    Deno.mkdirSync(join(folder, name));
    if (name === "lr_empty") continue;
    Deno.writeTextFileSync(join(folder, name, "metrics.jsonl"), lines(runRecord({ run: name })));
  }
  Deno.writeTextFileSync(join(folder, "notes.txt"), "none");
  return { folder, [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }) };
}

const names = (paths: readonly string[]) => findRuns(paths).map(({ name }) => name);

Deno.test("findRuns() takes a folder of runs, a pattern and a list, each run once", async () => {
  await using runs = await folderOfRuns();
  const { folder } = runs;
  const at = (name: string) => join(folder, name);
  // By the value of the numbers; a folder without records among them is none.
  for (const pattern of [at("lr*"), join(folder, "*", "metrics.jsonl"), at("lr{1,2,10}")]) {
    assertEquals(names([pattern]), ["lr1", "lr2", "lr10"], pattern);
  }
  assertEquals(names([folder]), ["lr1", "lr2", "lr10"]);
  assertEquals(names([`${folder}*`]), ["lr1", "lr2", "lr10"]);
  assertEquals(names([at("lr2"), join(at("lr1"), "metrics.jsonl"), at("lr*")]), [
    ...["lr2", "lr1", "lr10"],
  ]);
  // A name that is there is no pattern.
  Deno.renameSync(at("lr2"), at("lr[2]"));
  assertEquals(names([at("lr[2]")]), ["lr[2]"]);
});

Deno.test("findRuns() says what names no run, and how many runs are too many", async () => {
  await using runs = await folderOfRuns();
  const { folder } = runs;
  const refused = (path: string, says: string) => assertThrows(() => findRuns([path]), Error, says);
  refused(join(folder, "lr_empty"), "a folder without records");
  refused(join(folder, "lr9"), "current value is no file");
  refused(join(folder, "x*"), "a run must match it");
  for (let i = 20; i < 30; i++) {
    Deno.mkdirSync(join(folder, `lr${i}`));
    Deno.writeTextFileSync(join(folder, `lr${i}`, "metrics.jsonl"), "");
  }
  refused(folder, "current value is 13 runs");
});
