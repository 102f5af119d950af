/**
 * `deno task layers`: the rules of the tree that no compiler knows.
 *
 * @module
 */

import { dirname, fromFileUrl } from "@std/path";
import { type Command, main } from "../lib/cli/command.ts";
import { checkTree } from "../lib/layers/check.ts";
import { readTree } from "../lib/layers/read_tree.ts";

export const command: Command = {
  name: "layers",
  summary:
    "who imports whom, lengths and names of files, and that every C function has its wrapper",
  description: "The arrows are those of docs/architecture.md, written down in lib/layers/rooms.ts.",
  flags: [],
  examples: ["deno task layers"],
  async run() {
    const tree = await readTree(dirname(dirname(fromFileUrl(import.meta.url))));
    const { errors, warnings } = checkTree(tree);
    for (const warning of warnings) console.log(`warning: ${warning}`);
    for (const error of errors) console.error(`error: ${error}`);
    console.log(`${tree.size} files, ${errors.length} errors, ${warnings.length} warnings`);
    return errors.length > 0 ? 1 : 0;
  },
};

if (import.meta.main) await main(command);
