/**
 * The benches of data and tokenizer. They live beside the tests, whose vocabularies and oracle they share, so they run as
 * programs of their own.
 *
 * @module
 */

import { join } from "@std/path";
import { print } from "../cli/print.ts";

/** Each measures both sides in one process; the corpus is the quickstart's. */
const PROGRAMS = [
  "tests/data/loader_bench.ts",
  "tests/data/tokenize_bench.ts",
  "tests/tokenizer/tokenizer_bench.ts",
];

/**
 * Runs every bench of the source tree at `root` in turn, showing what it prints.
 *
 * Throws `Error` where one fails, or where the program is not run from a source tree with the corpus.
 */
export async function runDataSuite(root: string): Promise<void> {
  for (const path of [...PROGRAMS, "data/sotu/train"]) {
    try {
      Deno.statSync(join(root, path));
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      throw new Error(
        `Cannot run suite data as ${
          join(root, path)
        } is missing: run it in the source tree, and fetch-corpus there before`,
      );
    }
  }
  for (const program of PROGRAMS) {
    print(`\n== ${program}\n`);
    const { success, code } = await new Deno.Command("deno", {
      args: ["run", "--quiet", "--allow-all", "--cached-only", program],
      cwd: root,
      stdout: "inherit",
      stderr: "inherit",
    }).output();
    if (!success) throw new Error(`Cannot go on as ${program} ended with code ${code}`);
  }
}
