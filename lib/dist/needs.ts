/**
 * What a packed program asks of the system that it runs on.
 *
 * @module
 */

import { join } from "@std/path";
import { walk } from "@std/fs";

/** A phrase such as "Linux on x86_64 with glibc 2.36 or newer": the newest glibc that any binary in `folder` was linked to. */
export async function systemNeeds(folder: string): Promise<string> {
  let newest = 0;
  for await (
    const { path } of walk(folder, { includeDirs: false, exts: [".so", ".so.1", ".node"] })
  ) {
    newest = Math.max(newest, await linkedGlibc(path));
  }
  newest = Math.max(newest, await linkedGlibc(join(folder, "bin", "deno")));
  const { os, arch } = Deno.build;
  return `${os.charAt(0).toUpperCase()}${os.slice(1)} on ${arch} with glibc 2.${newest} or newer`;
}

/** Minor number of the newest version of glibc's symbols that a binary names; 0 where it names none. */
async function linkedGlibc(path: string): Promise<number> {
  const text = new TextDecoder("latin1").decode(await Deno.readFile(path));
  return Math.max(0, ...[...text.matchAll(/GLIBC_2\.(\d+)\0/g)].map(([, minor]) => Number(minor)));
}
