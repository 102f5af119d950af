/**
 * What a run goes on from.
 *
 * @module
 */

import { join, resolve } from "@std/path";
import { CheckpointError } from "../checkpoint/errors.ts";
import { listCheckpoints, openLatest } from "../checkpoint/find.ts";
import { type Checkpoint, openCheckpoint } from "../checkpoint/open.ts";
import { FILES } from "../checkpoint/layout.ts";
import { parseRunConfigYaml } from "../checkpoint/run_config_yaml.ts";
import { type PlainMapping, runConfigToJson } from "../config/print.ts";
import type { RunConfig } from "../config/run_config.ts";
import { changedSettings } from "./changed_settings.ts";
import { runFolder } from "./run_folder.ts";

/** Changed settings that a warning names. */
const SHOWN = 50;

interface Warned {
  warn(message: string): void;
}

/** The checkpoint to resume from; null for a new run. Warns of settings that are not those it was trained with. */
export async function findResumed(
  config: RunConfig,
  options: { resume?: string; observer: Warned },
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
  const checkpoint = resume === "latest"
    ? await latestOf(folder, observer)
    : await given(folder, resume);
  const changed = changedSettings(settingsOf(checkpoint), runConfigToJson(config));
  if (changed.length > 0) {
    const more = changed.length > SHOWN ? ` and ${changed.length - SHOWN} more` : "";
    observer.warn(
      `Goes on from ${checkpoint.path} with other settings: ${
        changed.slice(0, SHOWN).join(", ")
      }${more}`,
    );
  }
  return checkpoint;
}

async function given(folder: string, resume: string): Promise<Checkpoint> {
  refuseOtherOnes(folder, resume);
  return await openCheckpoint(resume);
}

async function latestOf(folder: string, observer: Warned): Promise<Checkpoint> {
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

/**
 * Refuses to go on in a folder whose last checkpoint is another one: what reads the run's newest would go on taking the later
 * ones, and retention would delete those of another run.
 */
function refuseOtherOnes(folder: string, resume: string): void {
  const entries = listCheckpoints(folder);
  if (entries.length === 0) return;
  const from = entries.find(({ path }) => resolve(path) === resolve(resume));
  if (from === undefined) {
    throw new CheckpointError(
      `Cannot go on from ${resume} in ${folder} as that holds checkpoints of another run, ${
        entries[0]!.path
      } among them: ` +
        "take another name with --set checkpoint.run=NAME",
    );
  }
  const later = entries.filter(({ step }) => step > from.step);
  if (later.length === 0) return;
  throw new CheckpointError(
    `Cannot go on from ${from.path} in its own folder as it holds later checkpoints, ${
      later.at(-1)!.path
    } the last: ` +
      "take another name with --set checkpoint.run=NAME, or move them away",
  );
}

/** What a checkpoint was trained with; nothing where another program than `train` wrote it. */
function settingsOf({ path, runConfig }: Checkpoint): PlainMapping {
  const settings = parseRunConfigYaml(runConfig, join(path, FILES.runConfig));
  return typeof settings === "object" && settings !== null ? settings as PlainMapping : {};
}
