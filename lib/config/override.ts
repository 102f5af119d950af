/**
 * `--set section.key=value`.
 *
 * @module
 */

import { type ConfigIssue, describeUnknownKey, describeValue } from "./errors.ts";
import { keysUnder } from "./schema.ts";
import { isMapping, parseYaml } from "./yaml.ts";

/** What {@linkcode applyOverrides} found. */
export interface Overrides {
  /** Dotted keys that were set, as opposed to read from the file. */
  readonly keys: ReadonlySet<string>;
  /** Assignments that name no key or hold no YAML. */
  readonly issues: readonly ConfigIssue[];
}

/**
 * Writes assignments into a parsed YAML mapping, in order, so that the last one of a key wins. The part after the
 * first `=` is read as YAML: `optimizer.betas=[0.9, 0.98]`, `data.validation=null`. Setting one of
 * `training.steps` and `training.tokens` takes the file's other one away.
 */
export function applyOverrides(
  raw: Record<string, unknown>,
  assignments: readonly string[],
): Overrides {
  const keys = new Set<string>();
  const issues: ConfigIssue[] = [];
  for (const assignment of assignments) {
    const issue = applyOne(raw, assignment, keys);
    if (issue !== undefined) issues.push({ source: "--set", ...issue });
  }
  return { keys, issues };
}

type Fault = Omit<ConfigIssue, "source">;

function applyOne(
  raw: Record<string, unknown>,
  assignment: string,
  keys: Set<string>,
): Fault | undefined {
  const equals = assignment.indexOf("=");
  if (equals < 1) {
    return { key: "", expected: "section.key=value", got: describeValue(assignment) };
  }
  const key = assignment.slice(0, equals).trim();
  const parts = key.split(".");
  for (let depth = 0; depth < parts.length; depth++) {
    const parent = parts.slice(0, depth).join(".");
    const known = keysUnder(parent);
    if (known === undefined) {
      return { key: parent, expected: "a value, not keys", got: describeValue(key) };
    }
    if (!known.includes(parts[depth]!)) {
      return { key, ...describeUnknownKey(parts[depth]!, { parent, known }) };
    }
  }
  let value: unknown;
  try {
    value = parseYaml(assignment.slice(equals + 1));
  } catch (error) {
    const text = describeValue(assignment.slice(equals + 1));
    return { key, expected: "a YAML value", got: `${text} (${firstLine(error)})` };
  }
  let holder = raw;
  for (const part of parts.slice(0, -1)) {
    const next = holder[part];
    if (next === undefined || next === null) holder[part] = {};
    else if (!isMapping(next)) return undefined; // the schema reports the section itself
    holder = holder[part] as Record<string, unknown>;
  }
  holder[parts.at(-1)!] = value;
  keys.add(key);
  const rival = { "training.steps": "tokens", "training.tokens": "steps" }[key];
  if (rival !== undefined && !keys.has(`training.${rival}`)) delete holder[rival];
  return undefined;
}

/** First line of an error's message, without the parser's picture of the source. */
export function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n")[0]!.replace(/:$/, "");
}
