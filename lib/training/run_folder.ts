/**
 * Where a run keeps its files.
 *
 * @module
 */

import { join } from "@std/path";
import type { RunConfig } from "../config/run_config.ts";

/** Folder of a run's checkpoints and records. */
export function runFolder(config: RunConfig): string {
  return join(config.checkpoint.directory, config.checkpoint.run);
}
