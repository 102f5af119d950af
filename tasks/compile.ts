/**
 * `compile`: TitanBit, its native library and its configs in one executable.
 *
 * @module
 */

import { dirname, fromFileUrl, join } from "@std/path";
import { type Command, main } from "../lib/cli/command.ts";
import { checkOutputFile, makeOutputFolder } from "../lib/cli/files.ts";
import { formatBytes } from "../lib/cli/format.ts";
import { exists } from "@std/fs";

export const command: Command = {
  name: "compile",
  summary: "pack everything into one executable",
  description:
    "Needs Deno's base binary denort: the file that $DENORT_BIN names, the one in Deno's cache, or a " +
    "download.\n`make dist` packs the same program as a folder, without it.",
  flags: [
    {
      name: "output",
      kind: "string",
      placeholder: "FILE",
      help: "the executable to write",
      default: "dist/titanbit",
    },
  ],
  examples: ["deno task compile", "deno task compile --output /usr/local/bin/titanbit"],
  async run(args) {
    const root = dirname(dirname(fromFileUrl(import.meta.url)));
    if (!await exists(join(root, "lib/dist/compile.ts"))) {
      throw new Error(
        "Cannot compile a packed program again: run `deno task compile` in TitanBit's source tree",
      );
    }
    const { compileProgram } = await import("../lib/dist/compile.ts");
    const output = args.string("output");
    const denort = Deno.env.get("DENORT_BIN");
    makeOutputFolder("output", dirname(output));
    checkOutputFile("output", output);
    await compileProgram({
      root,
      output,
      ...(denort !== undefined && { denort }),
      progress: (line) => console.error(line),
    });
    console.log(`${output}  ${formatBytes((await Deno.stat(output)).size)}`);
  },
};

if (import.meta.main) await main(command);
