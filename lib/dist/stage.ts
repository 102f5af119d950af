/**
 * The program's folder, free of the source tree and of the npm cache: what a release and a compiled executable hold.
 *
 * @module
 */

import { basename, dirname, fromFileUrl, join } from "@std/path";
import { bundleProgram, NATIVE_PACKAGE, NATIVE_PACKAGE_ENTRY } from "./bundle.ts";
import { copyFile, ignoreMissing, writeFile } from "./files.ts";
import { collectLicenses } from "./licenses.ts";
import { nameOwnCommands } from "./own_commands.ts";

/** Options of {@linkcode stageProgram}. */
export interface StageOptions {
  /** The source tree. */
  readonly root: string;
  /** Told what is being done, one line at a time. */
  readonly progress: (line: string) => void;
}

/** Where the program begins, relative to the staged folder. */
export const PROGRAM_ENTRY = "app/titanbit.js";

/**
 * Writes `app/` (code, native builds, the package with native code), `configs/` and the licences into `folder`.
 *
 * Needs `make` to have run in the source tree. Throws `Error` naming what is missing.
 */
export async function stageProgram(folder: string, options: StageOptions): Promise<void> {
  const { root, progress } = options;
  await checkTree(root);
  progress("bundling the program and its workers");
  const { files, packages: bundled } = await bundleProgram(root, {
    entry: "tasks/titanbit.ts",
    target: basename(PROGRAM_ENTRY),
  });
  for (const [path, code] of files) {
    await writeFile(join(folder, "app", path), nameOwnCommands(code));
  }
  progress("adding the native library and the configs");
  const packages = new Map(bundled);
  await copyLibraries(root, join(folder, "app", "build"));
  const native = await nativePackage(root);
  await copyNativePackage(native.folder, join(folder, "app", dirname(NATIVE_PACKAGE_ENTRY)));
  packages.set(native.folder, `${NATIVE_PACKAGE}@${native.version}`);
  for await (const { name } of Deno.readDir(join(root, "configs"))) {
    await copyText(join("configs", name));
  }
  for (const file of ["LICENSE", "README.md"]) await copyText(file);
  await writeFile(join(folder, "LICENSES.txt"), await collectLicenses(root, packages));

  async function copyText(path: string): Promise<void> {
    const text = await Deno.readTextFile(join(root, path));
    await writeFile(join(folder, path), nameOwnCommands(text));
  }
}

/** A packed program has the commands that pack, but not what they pack. */
async function checkTree(root: string): Promise<void> {
  const missing: string[] = [];
  for (const path of ["deno.json", "build/libtitanbit_cpu.so"]) {
    await Deno.stat(join(root, path)).catch((error) => {
      ignoreMissing(error);
      missing.push(path);
    });
  }
  if (missing.length > 0) {
    throw new Error(
      `Cannot pack ${root} as it lacks ${
        missing.join(" and ")
      }: run \`make\` in TitanBit's source tree and pack there`,
    );
  }
}

/** Of g++ and of clang; a build needs that of its compiler. */
const OPENMP_RUNTIMES = ["libgomp.so.1", "libomp.so.5"];

/** The native builds and, beside them, the OpenMP runtime that they look for in their own folder. */
async function copyLibraries(root: string, to: string): Promise<void> {
  const cpu = join(root, "build", "libtitanbit_cpu.so");
  await copyFile(cpu, join(to, basename(cpu)));
  await copyFile(join(root, "build", "libtitanbit.so"), join(to, "libtitanbit.so"))
    .catch(ignoreMissing); // The CUDA build is made where nvcc is.
  for (const name of OPENMP_RUNTIMES) {
    const openmp = await linkedLibrary(cpu, name);
    if (openmp !== null) await copyFile(openmp, join(to, name));
  }
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

/** Where the npm cache has the package with native code. */
async function nativePackage(root: string): Promise<{ folder: string; version: string }> {
  const { success, stdout, stderr } = await new Deno.Command("deno", {
    args: ["eval", `console.log(import.meta.resolve("${NATIVE_PACKAGE}"))`],
    cwd: root,
  }).output();
  if (!success) {
    const reason = new TextDecoder().decode(stderr).trim();
    throw new Error(`Cannot find npm package ${NATIVE_PACKAGE}: ${reason}; run \`make deps\``);
  }
  const folder = dirname(fromFileUrl(new TextDecoder().decode(stdout).trim()));
  const { version } = JSON.parse(await Deno.readTextFile(join(folder, "package.json")));
  return { folder, version };
}

/** Copies the package's code and, of its binaries, this machine's. */
async function copyNativePackage(from: string, to: string): Promise<void> {
  const arch = Deno.build.arch === "aarch64" ? "arm64" : "x64";
  const system = Deno.build.os === "linux" ? `linux-${arch}-gnu` : `${Deno.build.os}-${arch}`;
  const binary = `${NATIVE_PACKAGE}.${system}.node`;
  await copyFile(join(from, binary), join(to, binary));
  await copyFile(join(from, "index.js"), join(to, basename(NATIVE_PACKAGE_ENTRY)));
}
