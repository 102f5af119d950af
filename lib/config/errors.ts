/**
 * Everything that is wrong with a configuration, said at once.
 *
 * @module
 */

import type * as z from "zod";
import { nearest } from "../cli/nearest.ts";
import { describeText, describeValue } from "../std/describe.ts";

export { describeValue } from "../std/describe.ts";

/** One thing that is wrong. */
export interface ConfigIssue {
  /** Where the value was written: a file's name or `--set`. */
  readonly source: string;
  /** Line of the key in the file, 1 for the first, where it is known. */
  readonly line?: number;
  /** Dotted YAML key, empty for the whole file. */
  readonly key: string;
  /** What would have been accepted. */
  readonly expected: string;
  /** What was found, as YAML would write it. */
  readonly got: string;
  /** The nearest key or another remedy, as a clause. */
  readonly hint?: string;
}

/** Faults that a message lists. */
const SHOWN = 50;

/** A configuration that can't be run. `issues` holds every fault; the message lists them, one a line. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly issues: readonly ConfigIssue[];

  constructor(file: string, issues: readonly ConfigIssue[]) {
    const count = issues.length === 1 ? "a setting is" : `${issues.length} settings are`;
    const shown = issues.slice(0, SHOWN).map((issue) => `  ${formatIssue(issue)}`);
    if (issues.length > SHOWN) shown.push(`  and ${issues.length - SHOWN} more`);
    super(`Cannot use ${file} as ${count} not what was expected:\n${shown.join("\n")}`);
    this.issues = issues;
  }
}

/** One fault as `file:line: key: expected …, got …`. */
function formatIssue(issue: ConfigIssue): string {
  const place = issue.line === undefined ? issue.source : `${issue.source}:${issue.line}`;
  const key = issue.key === "" ? "" : ` ${describeText(issue.key)}:`;
  const got = describeText(issue.got);
  return `${place}:${key} expected ${issue.expected}, got ${got}${issue.hint ?? ""}`;
}

/** Keys of earlier versions, with the key to write now and what it holds. */
const EARLIER_KEYS: Readonly<Record<string, string>> = {
  "training.eval_batches":
    "training.eval_tokens, tokens of an evaluation: micro-batches x micro_batch x seq_len of before",
};

/** What is wrong with an unknown key: what took its place, else the nearest known one, or all of them where none is near. */
export function describeUnknownKey(
  name: string,
  place: { parent: string; known: readonly string[] },
): Pick<ConfigIssue, "expected" | "got" | "hint"> {
  const successor = EARLIER_KEYS[`${place.parent}.${name}`];
  if (successor !== undefined) return { expected: successor, got: describeValue(name) };
  const hint = nearest(name, place.known);
  const where = `a key of ${place.parent === "" ? "the config" : place.parent}`;
  return {
    expected: hint === "" ? `${where}: ${place.known.join(", ")}` : where,
    got: describeValue(name),
    hint,
  };
}

/** The remedy of what a schema found wrong with a value, as a clause; empty where there is none to name. */
export function hintAbout(issue: z.core.$ZodIssue, got: unknown): string {
  if (typeof got !== "string") return "";
  if (issue.code === "invalid_value") return nearest(got, issue.values.map(String));
  return wantsNumber(issue) && /^[-+.]?\d/.test(got)
    ? "; write a decimal number without quotes, such as 10, 0.5 or 3e-4"
    : "";
}

function wantsNumber(issue: z.core.$ZodIssue): boolean {
  if (issue.code === "invalid_union") return issue.errors.flat().some(wantsNumber);
  return issue.code === "invalid_type" && ["number", "int"].includes(issue.expected);
}
