/**
 * Makes the module addresses in a bundle mean what they meant in the source tree.
 *
 * A bundle holds many modules in one file, so `import.meta.url` of all of them is the bundle's. The bundler marks
 * where each module begins (`// lib/ffi/library.ts`); from that, every address is written relative to the folder in
 * which the bundle stands for the tree's root.
 *
 * @module
 */

import { dirname, join, relative } from "@std/path";

/** A bundle whose addresses hold, and what it refers to. */
export interface RelocatedBundle {
  readonly code: string;
  /** Sources of workers, such as `lib/training/worker.ts`; each is expected as `.js` at the same place. */
  readonly workers: readonly string[];
  /** Folders of the npm packages inside, relative to the tree's root, with the package's name and version. */
  readonly packages: ReadonlyMap<string, string>;
}

const MODULE_MARK = /^\/\/ (\S+\.(?:[cm]?[jt]s|json))$/m;
const NPM_PATH = /^(.*\/npm\/[^/]+\/((?:@[^/]+\/)?[^/]+)\/(\d[^/]*))\/(.*)$/;
const WORKER_URL = /new URL\(\s*"([^"]+)\.ts",\s*import\.meta\.url\s*\)/g;

/**
 * Rewrites what the bundler wrote for the file that will stand at `target`, a path relative to the program's folder.
 *
 * Throws `Error` where a module outside the tree uses `import.meta.url`: what it means there can't be known.
 */
export function relocate(bundle: string, target: string): RelocatedBundle {
  const workers = new Set<string>();
  const packages = new Map<string, string>();
  const here = dirname(target);
  // Odd elements are the captured module paths, even ones the code that follows.
  const parts = bundle.split(MODULE_MARK);
  let code = parts[0]!;
  for (let i = 1; i < parts.length; i += 2) {
    const module = parts[i]!;
    const npm = NPM_PATH.exec(module);
    if (npm !== null) packages.set(npm[1]!, `${npm[2]}@${npm[3]}`);
    code += npm === null ? `// ${module}` : `// npm:${npm[2]}@${npm[3]}/${npm[4]}`;
    code += relocateModule(parts[i + 1]!, { module, here, workers });
  }
  return { code, workers: [...workers].sort(), packages };
}

function relocateModule(
  code: string,
  { module, here, workers }: { module: string; here: string; workers: Set<string> },
): string {
  const other = /import\.meta\.(dirname|filename|resolve)\b/.exec(code)?.[0];
  if (other !== undefined) {
    throw new Error(`Cannot pack ${module} as it uses ${other}: use import.meta.url`);
  }
  if (!code.includes("import.meta.url")) return code;
  if (module.startsWith("../")) {
    throw new Error(`Cannot pack ${module} as it uses import.meta.url outside the source tree`);
  }
  const address = (path: string) => {
    const text = relative(here, path);
    return `new URL("${text.startsWith(".") ? text : `./${text}`}", import.meta.url)`;
  };
  const UNTOUCHED = "import.meta.\u0000url";
  return code
    .replace(WORKER_URL, (_, path: string) => {
      const source = join(dirname(module), path);
      workers.add(`${source}.ts`);
      return address(`${source}.js`).replace("import.meta.url", UNTOUCHED);
    })
    .replaceAll("import.meta.url", () => `${address(module)}.href`)
    .replaceAll(UNTOUCHED, "import.meta.url");
}
