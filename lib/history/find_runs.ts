/**
 * Which runs a command line means: folders, files of records, folders of runs, and patterns.
 *
 * @module
 */

import { globToRegExp, isGlob, join } from "@std/path";
import { findRun, isRunFolder, type RunFiles } from "./run_files.ts";

/** Runs that colours tell apart. */
export const MOST_RUNS = 12;

/**
 * The runs that `paths` name, each once: a run's folder, its file of records, a folder that holds runs, or a pattern (`lr*`) of any of
 * these where no file has that very name. Those that a folder or a pattern holds come by name, numbers by their value.
 *
 * Throws `Error` where a path names no run, and where there are more than {@linkcode MOST_RUNS}.
 */
export function findRuns(paths: readonly string[]): RunFiles[] {
  const found = new Map<string, RunFiles>();
  for (const path of paths) {
    for (const run of runsOf(path)) {
      const files = findRun(run);
      found.set(Deno.realPathSync(files.records), files);
    }
  }
  if (found.size > MOST_RUNS) {
    throw new Error(
      `Cannot compare the runs as charts tell ${MOST_RUNS} apart: current value is ${found.size} runs; ` +
        "name fewer, by --run for each or a pattern such as --run 'checkpoints/lr*'",
    );
  }
  return [...found.values()];
}

function runsOf(path: string): string[] {
  if (isGlob(path) && !exists(path)) {
    const runs = matches(path).flatMap((one) =>
      isRunFolder(one) || one.endsWith(".jsonl") ? [one] : runsIn(one)
    );
    if (runs.length > 0) return runs;
    throw new Error(
      `Cannot show ${path} as a run must match it: current value is no run's folder, file of records or folder of runs`,
    );
  }
  const held = isRunFolder(path) ? [] : runsIn(path);
  return held.length > 0 ? held : [path];
}

function runsIn(folder: string): string[] {
  return namesIn(folder).map((name) => join(folder, name)).filter(isRunFolder);
}

/** Paths that a pattern matches, part by part. */
function matches(pattern: string): string[] {
  let paths = [pattern.startsWith("/") ? "/" : ""];
  for (const part of pattern.split("/").filter((one) => one !== "")) {
    const expression = isGlob(part) ? globToRegExp(part) : null;
    paths = paths.flatMap((path) =>
      expression === null
        ? [join(path, part)]
        : namesIn(path || ".").filter((name) => expression.test(name)).map((name) =>
          join(path, name)
        )
    );
  }
  return paths.filter(exists);
}

const byName = new Intl.Collator("en", { numeric: true });

/** Names in a folder, hidden ones left out; of what is no folder none. */
function namesIn(folder: string): string[] {
  try {
    return Array.from(Deno.readDirSync(folder), ({ name }) => name)
      .filter((name) => !name.startsWith(".")).sort(byName.compare);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return [];
    }
    throw error;
  }
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return false;
    }
    throw error;
  }
}
