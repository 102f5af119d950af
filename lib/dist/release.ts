/**
 * One folder that holds everything TitanBit needs, wherever it is put: the bundled program, the Deno runtime, the
 * native library with the OpenMP runtime beside it, the configs and a launcher; and one archive of it.
 *
 * @module
 */

import { basename, dirname, fromFileUrl, join } from "@std/path";
import { bundleProgram, NATIVE_PACKAGE, NATIVE_PACKAGE_ENTRY } from "./bundle.ts";
import { collectLicenses } from "./licenses.ts";

/** Options of {@linkcode buildRelease}. */
export interface ReleaseOptions {
  /** The source tree. */
  readonly root: string;
  /** Folder that receives the release's folder; an older one of the same name is replaced. */
  readonly output: string;
  readonly version: string;
  /** Told what is being done, one line at a time. */
  readonly progress: (line: string) => void;
}

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
exec "$here/bin/deno" run --no-config --no-lock --no-remote --no-npm --no-prompt --allow-read --allow-write \\
  --allow-ffi --allow-env --allow-run=npm,tar "$here/app/titanbit.js" "$@"
`;

/**
 * Builds the release's folder `titanbit-<version>-<os>-<arch>` in `output`; its path.
 *
 * Needs `make` to have run. Throws `Error` naming what is missing.
 */
export async function buildRelease(options: ReleaseOptions): Promise<string> {
  const { root, output, progress } = options;
  const name = `titanbit-${options.version}-${Deno.build.os}-${Deno.build.arch}`;
  const folder = join(output, name);
  const unfinished = join(output, `${name}.tmp-${Deno.pid}`);
  await Deno.mkdir(unfinished, { recursive: true });
  try {
    progress("bundling the program and its workers");
    const program = await bundleProgram(root, {
      entry: "tasks/titanbit.ts",
      target: "titanbit.js",
    });
    for (const [path, code] of program.files) {
      await writeFile(join(unfinished, "app", path), code);
    }
    progress("adding the native library, the runtime and the configs");
    const packages = new Map(program.packages);
    await copyLibraries(root, join(unfinished, "app", "build"));
    await copyNativePackage(join(unfinished, "app", dirname(NATIVE_PACKAGE_ENTRY)), packages);
    await copyFile(Deno.execPath(), join(unfinished, "bin", "deno"));
    await copyFolder(join(root, "configs"), join(unfinished, "configs"));
    for (const file of ["LICENSE", "README.md"]) {
      await copyFile(join(root, file), join(unfinished, file));
    }
    await writeFile(join(unfinished, "LICENSES.txt"), await collectLicenses(root, packages));
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

/** The native builds and, beside them, the OpenMP runtime that they look for in their own folder. */
async function copyLibraries(root: string, to: string): Promise<void> {
  const cpu = join(root, "build", "libtitanbit_cpu.so");
  await copyFile(cpu, join(to, basename(cpu)));
  await copyFile(join(root, "build", "libtitanbit.so"), join(to, "libtitanbit.so"))
    .catch(ignoreMissing); // The CUDA build is made where nvcc is.
  const openmp = await linkedLibrary(cpu, "libgomp.so.1");
  if (openmp !== null) await copyFile(openmp, join(to, "libgomp.so.1"));
}

/** Where the loader finds a library that another one needs; `null` where it needs none of that name. */
async function linkedLibrary(path: string, name: string): Promise<string | null> {
  const { success, stdout } = await new Deno.Command("ldd", { args: [path] }).output();
  const text = new TextDecoder().decode(stdout);
  if (!success) throw new Error(`Cannot pack ${path} as ldd can't read it: run \`make\``);
  const line = text.split("\n").find((candidate) => candidate.trim().startsWith(`${name} `));
  if (line === undefined) return null;
  const found = /=> (\/\S+)/.exec(line)?.[1];
  if (found === undefined) throw new Error(`Cannot pack ${path} as ${name} isn't found: ${line}`);
  return found;
}

/** Copies the package with native code, of its binaries only this machine's. */
async function copyNativePackage(to: string, packages: Map<string, string>): Promise<void> {
  const from = dirname(fromFileUrl(import.meta.resolve(NATIVE_PACKAGE)));
  const { version } = JSON.parse(await Deno.readTextFile(join(from, "package.json")));
  const arch = Deno.build.arch === "aarch64" ? "arm64" : "x64";
  const binary = Deno.build.os === "linux"
    ? `${NATIVE_PACKAGE}.linux-${arch}-gnu.node`
    : `${NATIVE_PACKAGE}.${Deno.build.os}-${arch}.node`;
  await copyFile(join(from, binary), join(to, binary));
  await copyFile(join(from, "index.js"), join(to, basename(NATIVE_PACKAGE_ENTRY)));
  packages.set(from, `${NATIVE_PACKAGE}@${version}`);
}

async function copyFolder(from: string, to: string): Promise<void> {
  for await (const { name, isFile } of Deno.readDir(from)) {
    if (isFile) await copyFile(join(from, name), join(to, name));
  }
}

async function copyFile(from: string, to: string): Promise<void> {
  await Deno.mkdir(dirname(to), { recursive: true });
  await Deno.copyFile(from, to);
}

async function writeFile(path: string, text: string): Promise<void> {
  await Deno.mkdir(dirname(path), { recursive: true });
  await Deno.writeTextFile(path, text);
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
