/**
 * Reads a run's YAML.
 *
 * @module
 */

import { basename, extname } from "@std/path";
import type * as z from "zod";
import {
  ConfigError,
  type ConfigIssue,
  describeUnknownKey,
  describeValue,
  hintAbout,
} from "./errors.ts";
import { applyOverrides, firstLine } from "./override.ts";
import { readYaml } from "./read_yaml.ts";
import { resolveRunConfig } from "./resolve.ts";
import type { ResolvedDefault, RunConfig } from "./run_config.ts";
import { keysUnder, runSchema, SECTIONS } from "./schema.ts";
import { isMapping, parseYaml, readAs } from "./yaml.ts";
import { lineOf, yamlLines } from "./yaml_lines.ts";

/** A run, and how it came about. */
export interface LoadedRunConfig {
  /** The complete run. */
  readonly config: RunConfig;
  /** Keys that the file left open, with what they became and why. */
  readonly defaults: readonly ResolvedDefault[];
  /** Path of the file. */
  readonly file: string;
}

/** Options of {@linkcode loadRunConfig} and {@linkcode parseRunConfig}. */
export interface LoadOptions {
  /** Assignments `section.key=value` that go over the file, in order. @default none */
  set?: readonly string[];
}

/**
 * Reads, overrides, checks and completes a run's configuration. Nothing but the file itself is opened.
 *
 * @throws {ConfigError} With every fault at once: file, line, key, what was expected, what was found and the
 * nearest key.
 */
export async function loadRunConfig(
  file: string,
  options: LoadOptions = {},
): Promise<LoadedRunConfig> {
  return parseRunConfig(await readYaml(file), { file, ...options });
}

/** As {@linkcode loadRunConfig}, from text that is already in memory; `file` names it in errors. */
export function parseRunConfig(
  text: string,
  options: LoadOptions & { file: string },
): LoadedRunConfig {
  const { file, set = [] } = options;
  const written = parseMapping(text, file);
  const overrides = applyOverrides(written, set);
  const lines = yamlLines(text);
  function locate(key: string): Pick<ConfigIssue, "source" | "line"> {
    for (let at = key; at !== ""; at = at.slice(0, Math.max(0, at.lastIndexOf(".")))) {
      if (overrides.keys.has(at)) return { source: "--set" };
    }
    const line = lineOf(lines, key);
    return line === undefined ? { source: file } : { source: file, line };
  }

  for (const section of SECTIONS) {
    if (written[section] === null) delete written[section]; // a heading with nothing under it
  }
  const raw = readAs(runSchema, written);
  const checked = runSchema.safeParse(raw);
  const issues = [...overrides.issues];
  if (!checked.success) {
    for (const issue of checked.error.issues) issues.push(...explain(issue, raw, locate));
  }
  if (!checked.success || issues.length > 0) throw new ConfigError(file, issues);

  const resolution = resolveRunConfig(checked.data, runNameOf(file));
  if ("conflicts" in resolution) {
    throw new ConfigError(
      file,
      resolution.conflicts.map((conflict) => ({ ...locate(conflict.key), ...conflict })),
    );
  }
  return { ...resolution, file };
}

function parseMapping(text: string, file: string): Record<string, unknown> {
  let raw: unknown;
  try {
    raw = parseYaml(text);
  } catch (error) {
    const message = firstLine(error);
    const line = /^(.*) at line (\d+), column (\d+)/.exec(message);
    throw new ConfigError(file, [{
      source: file,
      ...(line === null ? {} : { line: Number(line[2]) }),
      key: "",
      expected: "YAML",
      got: line === null ? message : `a fault in column ${line[3]} (${line[1]})`,
    }]);
  }
  if (raw === null || raw === undefined) raw = {};
  if (!isMapping(raw)) {
    throw new ConfigError(file, [{
      source: file,
      line: 1,
      key: "",
      expected: `the sections ${SECTIONS.join(", ")}`,
      got: describeValue(readAs(runSchema, raw)),
    }]);
  }
  return raw;
}

function explain(
  issue: z.core.$ZodIssue,
  raw: unknown,
  locate: (key: string) => Pick<ConfigIssue, "source" | "line">,
): ConfigIssue[] {
  const parent = issue.path.join(".");
  if (issue.code === "unrecognized_keys") {
    const known = keysUnder(parent) ?? [];
    return issue.keys.map((name) => {
      const key = parent === "" ? name : `${parent}.${name}`;
      return { ...locate(key), key, ...describeUnknownKey(name, { parent, known }) };
    });
  }
  const got = valueAt(raw, issue.path);
  const hint = hintAbout(issue, got);
  return [{
    ...locate(parent),
    key: parent,
    expected: issue.message,
    got: describeValue(got),
    ...(hint === "" ? {} : { hint }),
  }];
}

function valueAt(raw: unknown, path: readonly PropertyKey[]): unknown {
  let value = raw;
  for (const key of path) {
    if (typeof value !== "object" || value === null) return undefined;
    value = (value as Record<PropertyKey, unknown>)[key];
  }
  return value;
}

/** The run's name that a config file suggests: its base name, with what a folder's name can't hold as dashes. */
function runNameOf(file: string): string {
  const name = basename(file, extname(file)).replace(/[^A-Za-z0-9._-]+/g, "-").replace(
    /^[-.]+/,
    "",
  );
  return name === "" ? "run" : name;
}
