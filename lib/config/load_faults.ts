/**
 * Reads the faults of `train --inject FILE`: a YAML or JSON list.
 *
 * @module
 */

import * as z from "zod";
import { type Fault, FAULT_KINDS } from "../stability/faults.ts";
import {
  ConfigError,
  type ConfigIssue,
  describeUnknownKey,
  describeValue,
  hintAbout,
} from "./errors.ts";
import { firstLine } from "./override.ts";
import { readYaml } from "./read_yaml.ts";
import { parseYaml, readAs } from "./yaml.ts";

const STEP = "a step from 1";
const step = z.int({ error: STEP }).min(1, { error: STEP });

/** An hour: timers take no more than 2^31 - 1 and strike at once beyond. */
const MOST_MS = 3_600_000;
const MS = `a number from 0 to ${MOST_MS}`;

const fault = z.strictObject({
  kind: z.enum(FAULT_KINDS, { error: `one of ${FAULT_KINDS.join(", ")}` }),
  steps: z.union([step, z.array(step).min(1)], { error: `${STEP}, or a list of them` }),
  repeat: z.enum(["once", "always"], { error: "once or always" }).default("once"),
  factor: z.number({ error: "a number" }).default(10),
  ms: z.number({ error: MS }).min(0, { error: MS }).max(MOST_MS, { error: MS }).default(1000),
}, { error: "a mapping" });

const faults = z.array(fault, { error: "a list of faults" });

/**
 * Reads a list such as `[{ kind: loss, steps: [40, 60], factor: 50 }, { kind: nan_gradient, steps: 80, repeat: always }]`.
 *
 * @throws {ConfigError} with everything that is wrong.
 */
export async function loadFaults(file: string): Promise<Fault[]> {
  return parseFaults(await readYaml(file), file);
}

/** As {@linkcode loadFaults}, from text that is already in memory; `file` names it in errors. */
export function parseFaults(text: string, file: string): Fault[] {
  let raw: unknown;
  try {
    raw = readAs(faults, parseYaml(text));
  } catch (error) {
    throw noYaml(file, firstLine(error));
  }
  const checked = faults.safeParse(raw);
  if (!checked.success) {
    throw new ConfigError(file, checked.error.issues.flatMap((issue) => explain(issue, raw, file)));
  }
  return checked.data.map((one) => ({
    ...one,
    steps: typeof one.steps === "number" ? [one.steps] : one.steps,
  }));
}

function noYaml(file: string, got: string): ConfigError {
  return new ConfigError(file, [{ source: file, key: "", expected: "a YAML file", got }]);
}

function explain(issue: z.core.$ZodIssue, raw: unknown, source: string): ConfigIssue[] {
  const key = issue.path.map((part) => typeof part === "number" ? `[${part}]` : `.${String(part)}`)
    .join("").replace(/^\./, "");
  if (issue.code === "unrecognized_keys") {
    const place = { parent: "a fault", known: Object.keys(fault.shape) };
    return issue.keys.map((name) => ({
      source,
      key: `${key}.${name}`,
      ...describeUnknownKey(name, place),
    }));
  }
  const got = issue.path.reduce(
    (value: unknown, part) =>
      typeof value === "object" && value !== null
        ? (value as Record<PropertyKey, unknown>)[part]
        : undefined,
    raw,
  );
  const hint = hintAbout(issue, got);
  return [{
    source,
    key,
    expected: issue.message,
    got: describeValue(got),
    ...(hint === "" ? {} : { hint }),
  }];
}
