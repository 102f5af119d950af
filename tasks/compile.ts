/**
 * `compile`: TitanBit, its native library and its configs in one executable.
 *
 * @module
 */

import { dirname, fromFileUrl, join } from "@std/path";
import meta from "../deno.json" with { type: "json" };
import { type Command, main } from "../lib/cli/command.ts";
import { checkOutputFile, makeOutputFolder } from "../lib/cli/files.ts";
import { formatBytes } from "../lib/cli/format.ts";
import { packingProgress } from "../lib/cli/packing_progress.ts";
import { exists } from "@std/fs";

export const command: Command = {
  name: "compile",
  summary: "pack everything into one executable",
  description:
    "The executable runs on systems like this one, without Deno, npm or a network. It is made on Deno's base " +
    "binary denort:\nthe file that $DENORT_BIN names, the one in Deno's cache, or a download. Where that can't be " +
    "had it holds Deno itself and\nunpacks once into the user's cache folder. Run `make` before.",
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
      version: meta.version,
      ...(denort !== undefined && { denort }),
      ...packingProgress(),
    });
    console.log(`${output}  ${formatBytes((await Deno.stat(output)).size)}`);
  },
};

if (import.meta.main) await main(command);
