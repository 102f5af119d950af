/**
 * What a run goes on from.
 *
 * @module
 */

import { CheckpointError } from "../checkpoint/errors.ts";
import { listCheckpoints, openLatest } from "../checkpoint/find.ts";
import { type Checkpoint, openCheckpoint } from "../checkpoint/open.ts";
import type { RunConfig } from "../config/run_config.ts";
import { runFolder } from "./run_folder.ts";

/** The checkpoint to resume from; null for a new run. */
export async function findResumed(
  config: RunConfig,
  options: { resume?: string; observer: { warn(message: string): void } },
): Promise<Checkpoint | null> {
  const { resume, observer } = options;
  const folder = runFolder(config);
  if (resume === undefined) {
    const [first] = listCheckpoints(folder);
    if (first === undefined) return null;
    throw new CheckpointError(
      `Cannot begin a run in ${folder} as it holds checkpoints of an earlier one, ${first.path} among them: ` +
        "go on with --resume latest, or take another name with --set checkpoint.run=NAME",
    );
  }
  if (resume !== "latest") return await openCheckpoint(resume);
  const found = await openLatest(folder);
  if (found === null) {
    throw new CheckpointError(
      `Cannot resume from the latest checkpoint as ${folder} holds none: leave --resume out to begin the run`,
    );
  }
  for (const { path, reason } of found.passedOver) {
    observer.warn(`Passed over ${path}: ${reason}`);
  }
  return found.checkpoint;
}
