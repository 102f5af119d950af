/**
 * In what a resumed run differs from what its checkpoint was trained with.
 *
 * @module
 */

import type { PlainMapping, PlainValue } from "../config/print.ts";

/** Sections that say where things go, not how the model is trained. */
const APART = ["checkpoint", "logging"];

/** Keys of the two configs whose values differ, as `optimizer.lr 0.001 -> 0.0005`; a key that one of them lacks is `none`. */
export function changedSettings(before: PlainMapping, now: PlainMapping): string[] {
  const [old, current] = [flat(before), flat(now)];
  const keys = new Set([...old.keys(), ...current.keys()]);
  return [...keys]
    .filter((key) => old.get(key) !== current.get(key))
    .map((key) => `${key} ${old.get(key) ?? "none"} -> ${current.get(key) ?? "none"}`);
}

/** Values as text by their whole keys. */
function flat(config: PlainMapping): Map<string, string> {
  const values = new Map<string, string>();
  const visit = (mapping: PlainMapping, prefix: string) => {
    for (const [name, value] of Object.entries(mapping)) {
      const key = prefix === "" ? name : `${prefix}.${name}`;
      if (APART.includes(key)) continue;
      if (isMapping(value)) visit(value, key);
      else values.set(key, typeof value === "string" ? value : JSON.stringify(value));
    }
  };
  visit(config, "");
  return values;
}

function isMapping(value: PlainValue): value is PlainMapping {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
