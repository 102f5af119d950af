/**
 * One executable file out of a release's folder: a script for /bin/sh, then the archive that it unpacks.
 *
 * The script uses what every Linux has: sh, the core utilities, flock, tar and gzip.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { relative } from "@std/path";
import { walk } from "@std/fs";
import { archiveRelease, type Release, START } from "./release.ts";
import SCRIPT from "./self_extracting.sh" with { type: "text" };

/** Writes the release in `folder` as one executable file at `output`. Throws `Error` where it can't be packed. */
export async function writeSelfExtracting(
  release: Release,
  { output, packed }: { output: string; packed: (done: number, total: number) => void },
): Promise<void> {
  const archive = `${output}.tar.gz`;
  await archiveRelease(release, { archive, packed });
  try {
    const script = await header(release, await sha256(archive));
    await Deno.writeTextFile(output, script);
    const file = await Deno.open(output, { append: true });
    await (await Deno.open(archive)).readable.pipeTo(file.writable);
    await Deno.chmod(output, 0o755);
  } finally {
    await Deno.remove(archive);
  }
}

/** The script, which knows where it ends, what follows it and what becomes of that. */
async function header(release: Release, digest: string): Promise<string> {
  const files: { path: string; size: number }[] = [];
  for await (const { path } of walk(release.folder, { includeDirs: false })) {
    const name = relative(release.folder, path);
    if (!/^[\w./@-]+$/.test(name)) {
      throw new Error(
        `Cannot pack ${path} as file names in a release hold letters, digits and ./@_- alone`,
      );
    }
    files.push({ path: name, size: (await Deno.stat(path)).size });
  }
  files.sort((a, b) => a.path < b.path ? -1 : 1);
  const total = files.reduce((sum, { size }) => sum + size, 0);
  const values: Record<string, string> = {
    VERSION: release.version,
    NEEDS: release.needs,
    NAME: `${release.version}-${digest.slice(0, 16)}`,
    DIGEST: digest,
    FILES: files.map(({ path, size }) => `${size} ${path}`).join("\n"),
    PATHS: files.map(({ path }) => path).join(" "),
    START: START.replaceAll("\n", "\n  "),
    SPACE: `${Math.ceil(total / 2 ** 20)} MiB`,
  };
  const filled = SCRIPT.replace(/@([A-Z]+)@/g, (found, key) => values[key] ?? found);
  // The address of the first byte after the script, counted from 1, in as many digits as the placeholder has.
  const place = "@OFFSET@";
  const offset = new TextEncoder().encode(filled).length + 1;
  return filled.replace(place, String(offset).padStart(place.length, "0"));
}

async function sha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of (await Deno.open(path)).readable) hash.update(chunk);
  return hash.digest("hex");
}
