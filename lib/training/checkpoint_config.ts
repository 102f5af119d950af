/**
 * Bounds of a config that came with a checkpoint: whoever wrote the checkpoint wrote it too.
 *
 * @module
 */

import { basename, dirname, join, relative, resolve } from "@std/path";
import { ConfigError, type ConfigIssue, describeValue } from "../config/errors.ts";
import type { RunConfig } from "../config/run_config.ts";
import { runFolder } from "./run_folder.ts";

/** Options of {@linkcode outsideSettings}. */
export interface CheckpointConfig {
  /** The config, with what the command line says. */
  readonly config: RunConfig;
  /** Folder of the checkpoint whose config it is. */
  readonly checkpoint: string;
  /** Dotted keys that the command line gave. */
  readonly given: readonly string[];
}

/**
 * The settings of a checkpoint's config by which a resumed run would write outside the run's folder or listen to other
 * machines. What the command line gave is the user's own. See docs/security.md.
 */
export function outsideSettings({ config, checkpoint, given }: CheckpointConfig): ConfigIssue[] {
  const issues: ConfigIssue[] = [];
  const source = join(checkpoint, "config.yaml");
  const isGiven = (key: string) => given.some((name) => key === name || key.startsWith(`${name}.`));
  const check = (key: string, value: string | null, rule: { holds: boolean; expected: string }) => {
    if (value === null || rule.holds || isGiven(key)) return;
    issues.push({ source, key, expected: rule.expected, got: describeValue(value) });
  };
  const own = dirname(real(checkpoint));
  const folder = runFolder(config);
  const { directory, run } = config.checkpoint;
  check("checkpoint.directory", directory, {
    holds: real(directory) === dirname(own),
    expected: `the folder of the run's folder, ${dirname(own)}`,
  });
  check("checkpoint.run", run, {
    holds: real(folder) === own || (isGiven("checkpoint.directory") && run === basename(own)),
    expected: `the name of the run's folder, ${basename(own)}`,
  });
  const inside = (path: string) => ({
    holds: isInside(real(path), real(folder)),
    expected: `a path in the run's folder, ${folder}`,
  });
  const { jsonl, tensorboard, prometheus } = config.logging;
  if (jsonl !== null) check("logging.jsonl", jsonl, inside(jsonl));
  if (tensorboard !== null) check("logging.tensorboard", tensorboard, inside(tensorboard));
  check("logging.prometheus", prometheus, {
    holds: prometheus !== null && isLoopback(prometheus),
    expected: "an address of this machine alone, such as 127.0.0.1:9464",
  });
  for (const link of linksOf(own)) {
    issues.push({
      source: join(own, link),
      key: "",
      expected: "a file or folder",
      got: "a symbolic link, which would be written through",
    });
  }
  return issues;
}

/** @throws {ConfigError} Where {@linkcode outsideSettings} finds any, with the remedy. */
export function requireInside(found: CheckpointConfig): void {
  const issues = outsideSettings(found);
  if (issues.length === 0) return;
  const remedy =
    "; give your own with --config FILE or --set KEY=VALUE, or --trust-config where the checkpoint is yours";
  throw new ConfigError(
    issues[0]!.source,
    issues.map((issue, index) => index < issues.length - 1 ? issue : { ...issue, hint: remedy }),
  );
}

/** A path without symbolic links, as far as it exists. */
function real(path: string): string {
  const absolute = resolve(path);
  try {
    return Deno.realPathSync(absolute);
  } catch {
    const parent = dirname(absolute);
    return parent === absolute ? absolute : join(real(parent), basename(absolute));
  }
}

function isInside(path: string, folder: string): boolean {
  const way = relative(folder, path);
  return way !== "" && way !== ".." && !way.startsWith("../");
}

/** `HOST:PORT` that no other machine reaches. */
function isLoopback(address: string): boolean {
  const host = address.slice(0, address.lastIndexOf(":"));
  return host === "localhost" || host === "[::1]" || /^127(\.\d{1,3}){3}$/.test(host);
}

/** Names of a folder's symbolic links. */
function linksOf(folder: string): string[] {
  return [...Deno.readDirSync(folder)].filter(({ isSymlink }) => isSymlink).map(({ name }) => name);
}
