/**
 * One folder that holds everything TitanBit needs, wherever it is put: the bundled program, the Deno runtime, the
 * native library with the OpenMP runtime beside it, the configs and a launcher; and one archive of it.
 *
 * @module
 */

import { basename, dirname, join } from "@std/path";
import { walk } from "@std/fs";
import { copyFile, ignoreMissing, writeFile } from "./files.ts";
import { systemNeeds } from "./needs.ts";
import { PROGRAM_ENTRY, type StageOptions, stageProgram } from "./stage.ts";
import { checkProgram } from "./start.ts";

/** Options of {@linkcode buildRelease}. */
export interface ReleaseOptions extends StageOptions {
  /** Folder that receives the release's folder; an older one of the same name is replaced. */
  readonly output: string;
  readonly version: string;
}

/** A release's folder. */
export interface Release {
  readonly folder: string;
  readonly version: string;
  /** What it asks of a system, such as "Linux on x86_64 with glibc 2.36 or newer". */
  readonly needs: string;
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
  "--allow-run",
] as const;

/** What `Worker`'s `deno.permissions` needs. */
export const WORKER_OPTIONS = "--unstable-worker-options";

const FLAGS = `${WORKER_OPTIONS} --quiet --no-config --no-lock --no-remote --no-npm --no-prompt`;

/**
 * Lines for sh that become the program in the folder `$here`. PATH is exported as the shell has it, as Deno does not start without
 * one where there is no home either: it looks for the programs that may be run.
 */
export const START = `DENO_NO_UPDATE_CHECK=1
export DENO_NO_UPDATE_CHECK PATH
exec "$here/bin/deno" run ${FLAGS} ${PERMISSIONS.join(" ")} "$here/${PROGRAM_ENTRY}" "$@"`;

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
${START}
`;

/**
 * Builds the release's folder `titanbit-<version>-<os>-<arch>` in `output`, and starts what is in it.
 *
 * Needs `make` to have run. Throws `Error` naming what is missing or does not run.
 */
export async function buildRelease(options: ReleaseOptions): Promise<Release> {
  const { output, progress, version } = options;
  const name = `titanbit-${version}-${Deno.build.os}-${Deno.build.arch}`;
  const folder = join(output, name);
  const unfinished = join(output, `${name}.tmp-${Deno.pid}`);
  try {
    await stageProgram(unfinished, options);
    progress("adding the runtime and the launcher");
    await copyFile(Deno.execPath(), join(unfinished, "bin", "deno"));
    await writeFile(join(unfinished, "titanbit"), LAUNCHER);
    await Deno.chmod(join(unfinished, "titanbit"), 0o755);
    progress("starting it");
    await checkProgram(join(unfinished, "titanbit"), version)
      .catch((error) => Promise.reject(new Error(`Cannot pack ${folder} as ${error.message}`)));
    await Deno.remove(folder, { recursive: true }).catch(ignoreMissing);
    await Deno.rename(unfinished, folder);
  } finally {
    await Deno.remove(unfinished, { recursive: true }).catch(ignoreMissing);
  }
  return { folder, version, needs: await systemNeeds(folder) };
}

/**
 * Packs a release's folder as the file `archive`, a tar.gz with one folder in it; the same folder gives the same bytes.
 *
 * `packed` is told how many bytes of how many have been read.
 */
export async function archiveRelease(
  { folder }: Release,
  { archive, packed }: { archive: string; packed: (done: number, total: number) => void },
): Promise<void> {
  let total = 0;
  for await (const { path } of walk(folder, { includeDirs: false })) {
    total += (await Deno.stat(path)).size;
  }
  const tar = new Deno.Command("tar", {
    args: [
      ...["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=2000-01-01T00:00Z"],
      ...["-cf", "-", "-C", dirname(folder), basename(folder)],
    ],
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const reason = new Response(tar.stderr).text();
  let done = 0;
  const counted = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
    transform(chunk, controller) {
      controller.enqueue(chunk);
      done += chunk.length;
      packed(Math.min(done, total - 1), total); // tar's own bytes come on top.
    },
  });
  const unfinished = `${archive}.tmp-${Deno.pid}`;
  try {
    const file = await Deno.open(unfinished, { write: true, create: true, truncate: true });
    await tar.stdout.pipeThrough(counted).pipeThrough(new CompressionStream("gzip"))
      .pipeTo(file.writable);
    if (!(await tar.status).success) {
      throw new Error(
        `Cannot pack ${archive}: ${(await reason).trim()}; GNU tar must be installed`,
      );
    }
    await Deno.rename(unfinished, archive);
  } finally {
    await Deno.remove(unfinished).catch(ignoreMissing);
  }
  packed(total, total);
}
