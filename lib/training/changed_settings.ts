/**
 * In what a resumed run differs from what its checkpoint was trained with.
 *
 * @module
 */

import type { PlainMapping, PlainValue } from "../config/print.ts";
import { describeValue } from "../std/describe.ts";

/** Sections that say where things go, not how the model is trained. */
const APART = ["checkpoint", "logging"];

/**
 * Keys of the two configs whose values differ, as `optimizer.lr 0.001 -> 0.0005`; a key that one of them lacks is
 * `none` there. What `before` holds is taken for anything YAML can spell: no more of it is followed than `now` has.
 */
export function changedSettings(before: PlainMapping, now: PlainMapping): string[] {
  const changes: string[] = [];
  const visit = (old: PlainMapping, current: PlainMapping, prefix: string) => {
    for (const name of new Set([...Object.keys(old), ...Object.keys(current)])) {
      const key = `${prefix}${name}`;
      if (APART.includes(key)) continue;
      const [was, is] = [old, current].map((m) => Object.hasOwn(m, name) ? m[name] : undefined);
      if (isMapping(was) && isMapping(is)) visit(was, is, `${key}.`);
      else if (!same(was, is)) changes.push(`${key} ${shown(was)} -> ${shown(is)}`);
    }
  };
  visit(before, now, "");
  return changes;
}

function same(was: PlainValue | undefined, is: PlainValue | undefined): boolean {
  if (!Array.isArray(is) || !Array.isArray(was)) return Object.is(was, is);
  return was.length === is.length && is.every((item, i) => same(was[i], item));
}

function shown(value: PlainValue | undefined): string {
  if (value === undefined) return "none";
  return typeof value === "string" ? describeValue(value).slice(1, -1) : describeValue(value);
}

function isMapping(value: PlainValue | undefined): value is PlainMapping {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
