/**
 * Where a run's records and its config lie.
 *
 * @module
 */

import { basename, dirname, join, resolve } from "@std/path";
import { parse } from "@std/yaml";
import { FILES, listCheckpoints } from "../checkpoint/layout.ts";
import { readRunText } from "./run_file.ts";

/** A run's files. */
export interface RunFiles {
  /** What to call it while no record does. */
  readonly name: string;
  readonly folder: string;
  /** The file of records. */
  readonly records: string;
}

const RECORDS = "metrics.jsonl";
/** Of a config; those that runs write have some kB. */
const MOST_CONFIG_BYTES = 1 << 20;

/** The files of a run: its folder, or its file of records. Throws `Error` where there are no records. */
export function findRun(path: string): RunFiles {
  const info = statOrNull(path);
  if (info === null || (info.isDirectory && !isRunFolder(path))) {
    throw new Error(
      `Cannot show ${path} as it must be a run's folder with ${RECORDS}, a folder of such, or a file of records: ` +
        `current value is ${
          info === null ? "no file" : "a folder without records"
        }; runs lie in checkpoints/, unless their config names another checkpoint.directory`,
    );
  }
  return info.isDirectory ? runFiles(join(path, RECORDS)) : runFiles(path);
}

/** Whether a path is a folder with a run's records. */
export function isRunFolder(path: string): boolean {
  return statOrNull(path)?.isDirectory === true && statOrNull(join(path, RECORDS)) !== null;
}

/** Time since a file of records was written, in ms; null where it isn't there yet. */
export function msSinceWritten(records: string): number | null {
  const time = statOrNull(records)?.mtime ?? null;
  return time === null ? null : Math.max(0, Date.now() - time.getTime());
}

/** The files of the run whose records are, or will be, at `records`. */
export function runFiles(records: string): RunFiles {
  const folder = dirname(resolve(records));
  const file = basename(records);
  const name = file === RECORDS ? basename(folder) : file.replace(/\.jsonl$/, "");
  return { name, folder, records };
}

/**
 * Text of the config of a run's newest checkpoint, `null` where it has none. Throws `Error` where that is no file that may be read,
 * see `openRunFile()`.
 */
export function readConfig(folder: string): string | null {
  for (const { path } of listCheckpoints(folder).reverse()) {
    // A checkpoint may be removed while its folder is looked at.
    const rules = { folder, mostBytes: MOST_CONFIG_BYTES };
    const text = readRunText(join(path, FILES.runConfig), rules);
    if (text !== null) return text;
  }
  return null;
}

/** Norm above which gradients are scaled down, `null` where the config has none or can't be read. */
export function clipNorm(config: string | null): number | null {
  if (config === null) return null;
  try {
    const { optimizer } = parse(config) as { optimizer?: { max_grad_norm?: unknown } };
    const norm = optimizer?.max_grad_norm;
    return typeof norm === "number" && norm > 0 ? norm : null;
  } catch {
    return null;
  }
}

function statOrNull(path: string): Deno.FileInfo | null {
  try {
    return Deno.statSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return null;
    }
    throw error;
  }
}
