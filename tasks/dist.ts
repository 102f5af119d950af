/**
 * `deno task dist`: TitanBit, its runtime and its libraries in one relocatable folder and one archive.
 *
 * @module
 */

import { basename, dirname, fromFileUrl } from "@std/path";
import meta from "../deno.json" with { type: "json" };
import { type Command, main } from "../lib/cli/command.ts";
import { makeOutputFolder } from "../lib/cli/files.ts";
import { formatBytes } from "../lib/cli/format.ts";
import { archiveRelease, buildRelease } from "../lib/dist/release.ts";

export const command: Command = {
  name: "dist",
  summary: "pack everything into one relocatable folder and one archive",
  description:
    "The folder runs on any machine of this system and architecture, without Deno, npm or a network:\n" +
    "`./titanbit train --config configs/quickstart.yaml`. Run `make` before.",
  flags: [
    { name: "output", kind: "string", help: "folder that receives both", default: "dist" },
    {
      name: "level",
      kind: "integer",
      help: "compression of the archive, 0 fast to 9 small",
      default: 6,
      min: 0,
      max: 9,
    },
  ],
  examples: ["deno task dist", "deno task dist --output /tmp/release --level 1"],
  async run(args) {
    const output = args.string("output");
    makeOutputFolder("output", output);
    const folder = await buildRelease({
      root: dirname(dirname(fromFileUrl(import.meta.url))),
      output,
      version: meta.version,
      progress: (line) => console.log(line),
    });
    console.log(`packing ${basename(folder)}`);
    const archive = await archiveRelease(folder, args.integer("level"));
    const { size } = await Deno.stat(archive);
    console.log(`${folder}\n${archive}  ${formatBytes(size)}`);
  },
};

if (import.meta.main) await main(command);
