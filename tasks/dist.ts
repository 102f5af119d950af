/**
 * `deno task dist`: TitanBit, its runtime and its libraries in one relocatable folder and one archive.
 *
 * @module
 */

import { dirname, fromFileUrl } from "@std/path";
import meta from "../deno.json" with { type: "json" };
import { type Command, main } from "../lib/cli/command.ts";
import { makeOutputFolder } from "../lib/cli/files.ts";
import { formatBytes } from "../lib/cli/format.ts";
import { packingProgress } from "../lib/cli/packing_progress.ts";
import { archiveRelease, buildRelease } from "../lib/dist/release.ts";

export const command: Command = {
  name: "dist",
  summary: "pack everything into one relocatable folder and one archive",
  description: "The folder runs on systems like this one, without Deno, npm or a network:\n" +
    "`./titanbit train --config configs/quickstart.yaml`. Run `make` before.",
  flags: [
    { name: "output", kind: "string", help: "folder that receives both", default: "dist" },
  ],
  examples: ["deno task dist", "deno task dist --output /tmp/release"],
  async run(args) {
    const output = args.string("output");
    makeOutputFolder("output", output);
    const { progress, packed } = packingProgress();
    const release = await buildRelease({
      root: dirname(dirname(fromFileUrl(import.meta.url))),
      output,
      version: meta.version,
      progress,
    });
    const archive = `${release.folder}.tar.gz`;
    await archiveRelease(release, { archive, packed });
    progress(`it runs on ${release.needs}`);
    const { size } = await Deno.stat(archive);
    console.log(`${release.folder}\n${archive}  ${formatBytes(size)}`);
  },
};

if (import.meta.main) await main(command);
