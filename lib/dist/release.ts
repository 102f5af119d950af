/**
 * One folder that holds everything TitanBit needs, wherever it is put: the bundled program, the Deno runtime, the
 * native library with the OpenMP runtime beside it, the configs and a launcher; and one archive of it.
 *
 * @module
 */

import { basename, dirname, join } from "@std/path";
import { copyFile, ignoreMissing, writeFile } from "./files.ts";
import { PROGRAM_ENTRY, type StageOptions, stageProgram } from "./stage.ts";

/** Options of {@linkcode buildRelease}. */
export interface ReleaseOptions extends StageOptions {
  /** Folder that receives the release's folder; an older one of the same name is replaced. */
  readonly output: string;
  readonly version: string;
}

/**
 * What the program may do. The network is for `logging.prometheus` and the dashboard, whose addresses only the user knows; nothing is
 * asked for on it but by npm, which fetches the quickstart's corpus.
 */
export const PERMISSIONS = [
  "--allow-read",
  "--allow-write",
  "--allow-ffi",
  "--allow-net",
  "--allow-sys=systemMemoryInfo,statfs",
  "--allow-env",
  "--allow-run=npm,tar",
] as const;

const LAUNCHER = `#!/bin/sh
# Starts TitanBit with the runtime and the libraries of this folder, wherever the folder or a link to this file lies.
self=$0
while [ -L "$self" ]; do
  link=$(readlink "$self")
  case $link in
    /*) self=$link ;;
    *) self=$(dirname "$self")/$link ;;
  esac
done
here=$(CDPATH='' cd -- "$(dirname -- "$self")" && pwd)
DENO_NO_UPDATE_CHECK=1
export DENO_NO_UPDATE_CHECK
exec "$here/bin/deno" run --quiet --no-config --no-lock --no-remote --no-npm --no-prompt \\
  ${PERMISSIONS.join(" ")} "$here/${PROGRAM_ENTRY}" "$@"
`;

/**
 * Builds the release's folder `titanbit-<version>-<os>-<arch>` in `output`; its path.
 *
 * Needs `make` to have run. Throws `Error` naming what is missing.
 */
export async function buildRelease(options: ReleaseOptions): Promise<string> {
  const { output, progress } = options;
  const name = `titanbit-${options.version}-${Deno.build.os}-${Deno.build.arch}`;
  const folder = join(output, name);
  const unfinished = join(output, `${name}.tmp-${Deno.pid}`);
  try {
    await stageProgram(unfinished, options);
    progress("adding the runtime and the launcher");
    await copyFile(Deno.execPath(), join(unfinished, "bin", "deno"));
    await writeFile(join(unfinished, "titanbit"), LAUNCHER);
    await Deno.chmod(join(unfinished, "titanbit"), 0o755);
    await Deno.remove(folder, { recursive: true }).catch(ignoreMissing);
    await Deno.rename(unfinished, folder);
  } finally {
    await Deno.remove(unfinished, { recursive: true }).catch(ignoreMissing);
  }
  return folder;
}

/** Packs a release's folder as `<folder>.tar.xz` beside it; its path. `level` is xz's, 0 fast to 9 small. */
export async function archiveRelease(folder: string, level: number): Promise<string> {
  const archive = `${folder}.tar.xz`;
  const unfinished = `${archive}.tmp-${Deno.pid}`;
  const { success, stderr } = await new Deno.Command("tar", {
    args: [
      ...["--sort=name", "--owner=0", "--group=0", "--numeric-owner"],
      ...[`--use-compress-program=xz -T0 -${level}`, "-cf", unfinished],
      ...["-C", dirname(folder), basename(folder)],
    ],
  }).output();
  if (!success) {
    await Deno.remove(unfinished).catch(ignoreMissing);
    const reason = new TextDecoder().decode(stderr).trim();
    throw new Error(`Cannot pack ${archive}: ${reason}; tar and xz must be installed`);
  }
  await Deno.rename(unfinished, archive);
  return archive;
}
