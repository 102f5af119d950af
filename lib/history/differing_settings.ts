/**
 * What sets compared runs apart.
 *
 * @module
 */

import { parse } from "@std/yaml";

/** A key of the configs, and its value in each as text: null where the config lacks it or isn't known. */
export interface DifferingSetting {
  readonly key: string;
  readonly values: readonly (string | null)[];
}

/** Sections that say where things go, not how the model is trained. */
const APART = ["checkpoint", "logging"];

/** Keys whose values differ between the known ones of `configs` (YAML), in their order. */
export function differingSettings(configs: readonly (string | null)[]): DifferingSetting[] {
  const tables = configs.map((config) => config === null ? null : flat(config));
  const known = tables.filter((table) => table !== null);
  const keys = new Set(known.flatMap((table) => [...table.keys()]));
  return [...keys]
    .filter((key) => new Set(known.map((table) => table.get(key))).size > 1)
    .map((key) => ({ key, values: tables.map((table) => table?.get(key) ?? null) }));
}

/** Values by their whole keys; null for what isn't a config. */
function flat(config: string): Map<string, string> | null {
  let root: unknown;
  try {
    root = parse(config);
  } catch {
    return null;
  }
  if (!isMapping(root)) return null;
  const values = new Map<string, string>();
  const visit = (mapping: Record<string, unknown>, prefix: string) => {
    for (const [name, value] of Object.entries(mapping)) {
      const key = `${prefix}${name}`;
      if (APART.includes(key)) continue;
      if (isMapping(value)) visit(value, `${key}.`);
      else values.set(key, typeof value === "string" ? value : JSON.stringify(value));
    }
  };
  visit(root, "");
  return values;
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
