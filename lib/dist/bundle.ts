/**
 * The program and its workers as JavaScript files that need no npm cache and no source tree.
 *
 * @module
 */

import { dirname, relative } from "@std/path";
import { relocate } from "./relocate.ts";

/** The files of a packed program. */
export interface Program {
  /** Code by path, relative to the program's folder. */
  readonly files: ReadonlyMap<string, string>;
  /** Folders of the npm packages inside, with name and version. */
  readonly packages: ReadonlyMap<string, string>;
}

/** The package with native code: it can't be bundled, and is copied to `packages/` of the program's folder. */
export const NATIVE_PACKAGE = "tokenizers";

/** What packs programs stays out of them: `tasks/compile.ts` loads it where there is a source tree. */
const PACKER = "../lib/dist/compile.ts";

/** Where the program's folder holds {@linkcode NATIVE_PACKAGE}. */
export const NATIVE_PACKAGE_ENTRY = `packages/${NATIVE_PACKAGE}/index.cjs`;

/**
 * Bundles `entry` as `target`, and every worker it starts beside it, by `deno bundle` in the folder `root`.
 *
 * Throws `Error` with the bundler's own words where it fails.
 */
export async function bundleProgram(
  root: string,
  { entry, target }: { entry: string; target: string },
): Promise<Program> {
  const files = new Map<string, string>();
  const packages = new Map<string, string>();
  const queue = [{ entry, target }];
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    if (files.has(next.target)) continue;
    const { code, workers, packages: inside } = relocate(
      await bundle(root, next.entry),
      next.target,
    );
    files.set(next.target, pointAtNativePackage(code, next.target));
    for (const [folder, name] of inside) packages.set(folder, name);
    queue.push(...workers.map((worker) => ({
      entry: worker,
      target: worker.replace(/\.ts$/, ".js"),
    })));
  }
  return { files, packages };
}

async function bundle(root: string, entry: string): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command("deno", {
    args: [
      ...["bundle", "--quiet", "--platform=deno"],
      ...[NATIVE_PACKAGE, PACKER].map((name) => `--external=${name}`),
      entry,
    ],
    cwd: root,
    env: { NO_COLOR: "1" },
  }).output();
  if (success) return new TextDecoder().decode(stdout);
  throw new Error(`Cannot bundle ${entry}: ${new TextDecoder().decode(stderr).trim()}`);
}

function pointAtNativePackage(code: string, target: string): string {
  const path = relative(dirname(target), NATIVE_PACKAGE_ENTRY);
  const specifier = path.startsWith(".") ? path : `./${path}`;
  return code.replaceAll(`import("${NATIVE_PACKAGE}")`, `import("${specifier}")`);
}
