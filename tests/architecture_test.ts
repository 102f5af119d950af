import { assert, assertEquals } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { checkArrows, checkNames, checkOps, checkSizes } from "../lib/layers/check.ts";
import { readTree } from "../lib/layers/read_tree.ts";
import { ROOMS } from "../lib/layers/rooms.ts";

const ROOT = fromFileUrl(new URL("../", import.meta.url));
const tree = await readTree(ROOT);

/** `deno.json` or its twin for JSR. */
function configuration(name: string) {
  return JSON.parse(Deno.readTextFileSync(join(ROOT, name)));
}

Deno.test("the tree keeps the arrows between rooms", () => {
  assertEquals(checkArrows(tree), []);
});

Deno.test("the tree has no file of more than 600 lines", () => {
  assertEquals(checkSizes(tree).errors, []);
});

Deno.test("the tree names its files in snake_case", () => {
  assertEquals(checkNames(tree), []);
});

Deno.test("the tree calls every C function and tests every wrapper", () => {
  assertEquals(checkOps(tree), []);
});

Deno.test("lib/layers/rooms.ts has a row for every folder of lib/", () => {
  const folders = [...Deno.readDirSync(join(ROOT, "lib"))].map(({ name }) => name);
  assertEquals(folders.filter((name) => ROOMS[name] === undefined), []);
});

Deno.test("deno.jsr.json has the import names and the compiler flags of deno.json", () => {
  const [npm, jsr] = [configuration("deno.json"), configuration("deno.jsr.json")];
  assertEquals(Object.keys(jsr.imports).sort(), Object.keys(npm.imports).sort());
  const { types: _, ...flags } = npm.compilerOptions;
  assertEquals(jsr.compilerOptions, flags);
});

Deno.test("every file of tasks/ is started by a task of deno.json, with permissions by name", () => {
  const tasks = Object.values<{ command: string }>(configuration("deno.json").tasks);
  for (const { name } of Deno.readDirSync(join(ROOT, "tasks"))) {
    if (name === "titanbit.ts") continue; // The program of all commands: `make dist` packs it.
    const task = tasks.find(({ command }) => command.endsWith(` tasks/${name}`));
    assert(task !== undefined, `no task starts tasks/${name}`);
    // The network: what fetches, from a registry that only the user's settings know.
    const mayUseNet = name === "fetch_corpus.ts";
    const isOpen = / (-A|--allow-all)\b/.test(task.command) ||
      (/ --allow-net(?!=)\b/.test(task.command) && !mayUseNet);
    assert(!isOpen, `${name}: ${task.command}`);
  }
});
