/**
 * A run's history as its files have it now.
 *
 * @module
 */

import { LineFollower } from "./line_follower.ts";
import { readConfig, type RunFiles } from "./run_files.ts";
import { RunHistory } from "./run_history.ts";

/** A run that was read. */
export interface ReadRun {
  readonly name: string;
  readonly history: RunHistory;
  /** Its config as YAML, null where no checkpoint holds it. */
  readonly config: string | null;
}

/** Reads a run once. */
export async function readHistory(files: RunFiles): Promise<ReadRun> {
  const history = new RunHistory();
  await new LineFollower(files.records, history).poll();
  return {
    name: history.start?.run ?? files.name,
    history,
    config: readConfig(files.folder),
  };
}
