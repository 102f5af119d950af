/**
 * Reads the source tree into memory.
 *
 * @module
 */

import { join } from "@std/path";
import type { SourceTree } from "./check.ts";

const FOLDERS = ["cuda", "lib", "tasks", "tests"];
const ENDINGS = /\.(ts|cpp|cu|cuh|h)$/;

/** Code of the tree at `root`: `mod.ts` and what lies in `cuda`, `lib`, `tasks` and `tests`. */
export async function readTree(root: string): Promise<SourceTree> {
  const tree = new Map<string, string>();
  async function visit(folder: string): Promise<void> {
    for await (const { name, isDirectory } of Deno.readDir(join(root, folder))) {
      const path = `${folder}/${name}`;
      if (isDirectory) await visit(path);
      else if (ENDINGS.test(name)) tree.set(path, await Deno.readTextFile(join(root, path)));
    }
  }
  for (const folder of FOLDERS) await visit(folder);
  tree.set("mod.ts", await Deno.readTextFile(join(root, "mod.ts")));
  return new Map([...tree].sort(([a], [b]) => a < b ? -1 : 1));
}
