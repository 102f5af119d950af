/**
 * Whether a resumed run goes on with the data that it was trained on.
 *
 * @module
 */

import { basename } from "@std/path";
import * as z from "zod";
import { CheckpointError } from "../checkpoint/errors.ts";
import type { Checkpoint } from "../checkpoint/open.ts";
import { DataError } from "../data/errors.ts";
import { type FileFingerprint, fingerprintOf, sameContent } from "../data/fingerprint.ts";
import type { TokenDataset } from "../data/shards.ts";

/** The files of a run as every checkpoint keeps them, in the order of training. */
export interface RunData {
  readonly train: readonly FileFingerprint[];
  /** Null without validation. */
  readonly validation: readonly FileFingerprint[] | null;
}

/** The data sets that a run has opened. */
export interface OpenedData {
  readonly train: TokenDataset;
  readonly validation: TokenDataset | null;
}

const files = z.array(z.object({
  name: z.string(),
  bytes: z.int().min(1),
  hash: z.string().regex(/^[0-9a-f]{64}$/).nullable(),
})).min(1);
const runData = z.object({ train: files, validation: files.nullable() });

/**
 * Takes the fingerprints of a run's files, of each of which up to 131,072 bytes are read, and compares them: by content, so that a file
 * is known by any of its paths, by a link and as a copy. Warns of one that comes several times in an epoch.
 *
 * @throws {DataError} naming a file of `data.validation` that is trained on.
 */
export function runDataOf(
  { train, validation }: OpenedData,
  options: { warn: (message: string) => void },
): RunData {
  const trained = train.shards.map(fingerprintOf);
  const places = new Map<string, string[]>();
  for (const [i, file] of trained.entries()) {
    const content = contentKey(file);
    const { path } = train.shards[i]!;
    if (!places.has(content)) places.set(content, []);
    places.get(content)!.push(path);
  }
  const validated = validation?.shards.map(fingerprintOf) ?? null;
  for (const [i, file] of validated?.entries() ?? []) {
    const [place] = places.get(contentKey(file)) ?? [];
    if (place === undefined) continue;
    const { path } = validation!.shards[i]!;
    throw new DataError(
      `Cannot validate on ${path} (data.validation) as it must be a file that isn't trained on: current content is that of ${place} ` +
        "(data.train). Take it out of data.train, or hold out other text with `deno task tokenize --val-fraction`",
      { path },
    );
  }
  const several = [...places.values()].filter((paths) => paths.length > 1);
  if (several.length > 0) {
    const [first] = several;
    const more = several.length === 1 ? "" : ` (and ${several.length - 1} more such files)`;
    options.warn(
      `data.train has one content ${first!.length} times, as ${
        first!.join(", ")
      }${more}: an epoch takes it so often`,
    );
  }
  return { train: trained, validation: validated };
}

function contentKey({ bytes, hash }: FileFingerprint): string {
  return `${bytes} ${hash}`;
}

/** The data without the hash of a file that was found damaged: it is to be mended, and the run to go on with what it then is. */
export function withoutHashOf(damaged: string, data: RunData): RunData {
  const name = basename(damaged);
  const train = data.train.map((file) => file.name === name ? { ...file, hash: null } : file);
  return { ...data, train };
}

/**
 * Compares a run's files with those that its checkpoint was trained on: by length and content, whatever they are called and wherever they
 * lie. Warns where the checkpoint is from before it kept them, and of other validation files, on which no bit of the training depends.
 *
 * @throws {DataError} naming the file of `data.train` that is another, or in another place.
 * @throws {CheckpointError} where the checkpoint's own list is malformed.
 */
export function checkResumedData(
  checkpoint: Pick<Checkpoint, "path" | "state">,
  data: RunData,
  options: { opened: OpenedData; warn: (message: string) => void },
): void {
  const { path, state } = checkpoint;
  const { opened, warn } = options;
  if (state.data === undefined) {
    warn(
      `${path} does not say which files it was trained on, as it is from an earlier version: make sure that those of data.train are the same, ` +
        "in the same order; the next checkpoint keeps them",
    );
    return;
  }
  const kept = parseRunData(state.data, path);
  const paths = opened.train.shards.map((shard) => shard.path);
  const difference = differenceOf(kept.train, data.train, paths);
  if (difference !== null) {
    throw new DataError(
      `Cannot resume from ${path} as data.train must be the files that it was trained on, in their order: ${difference.text}. ` +
        "Restore the files and their order, or begin another run with --set checkpoint.run=NAME",
      { path: difference.path },
    );
  }
  if (kept.validation === null || opened.validation === null) return;
  const validated = opened.validation.shards.map((shard) => shard.path);
  const other = differenceOf(kept.validation, data.validation!, validated);
  if (other === null) return;
  warn(
    `Validates on other data than ${path}: of data.validation ${other.text}. Training is the same, but losses of validation before and after are of different texts`,
  );
}

function parseRunData(value: unknown, path: string): RunData {
  const parsed = runData.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const field = ["data", ...issue!.path].join(".");
  throw new CheckpointError(
    `Cannot resume from ${path} as ${field} of its trainer state is malformed: ${issue!.message}`,
  );
}

/** The first file that is not the one it was; null where all are. */
function differenceOf(
  kept: readonly FileFingerprint[],
  found: readonly FileFingerprint[],
  paths: readonly string[],
): { text: string; path: string } | null {
  const length = Math.max(kept.length, found.length);
  for (let i = 0; i < length; i++) {
    const [was, is] = [kept[i], found[i]];
    if (was !== undefined && is !== undefined && sameContent(was, is)) continue;
    const path = paths[i] ?? paths.at(-1)!;
    const current = is === undefined ? "none" : describe(paths[i]!, is);
    const number = `file ${i + 1} of ${kept.length}`;
    if (was === undefined) {
      return {
        text:
          `there must be ${kept.length} files: current value is ${found.length}, ${current} too many`,
        path,
      };
    }
    const now = found.findIndex((file) => sameContent(was, file));
    const moved = now === -1 ? "" : `, and ${was.name} is file ${now + 1}, ${paths[now]}`;
    return {
      text: `${number} must be ${describe(was.name, was)}: current value is ${current}${moved}`,
      path,
    };
  }
  return null;
}

function describe(name: string, { bytes, hash }: FileFingerprint): string {
  const content = hash === null ? "" : `, sampled SHA-256 ${hash.slice(0, 16)}…`;
  return `${name} (${bytes} bytes${content})`;
}
