/**
 * YAML in which the characters of each plain scalar are kept, as the type of its key says how they are read:
 * `run: 1234` is a name, `steps: 1234` a number.
 *
 * @module
 */

import { parse } from "@std/yaml";
import type * as z from "zod";

/**
 * Numbers as everyone reads them. YAML 1.1 has others, such as `010` for 8, `0x10`, `0b1` and `1_000`, which other
 * readers take for something else.
 */
const DECIMAL = /^[-+]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?$|^[-+]?\.(?:inf|nan)$/i;

/** A scalar without quotes that is a decimal number or a truth value. */
export class PlainScalar {
  constructor(
    /** What YAML takes it for. */
    readonly value: number | boolean,
    /** The characters as they stand there. */
    readonly written: string,
  ) {}

  toJSON(): number | boolean {
    return this.value;
  }
}

/**
 * Parses YAML, with a {@linkcode PlainScalar} in the place of each decimal number and truth value. Other numbers and dates are
 * text, and keys of mappings are as they are written.
 *
 * @throws {SyntaxError} Where it isn't YAML.
 */
export function parseYaml(text: string): unknown {
  // The failsafe schema gives every scalar as its characters, but null where there are none.
  return withWritten(parse(text), parse(text, { schema: "failsafe" }), new Map());
}

/** Joins a value and the same with its scalars as written; aliases stay one value. */
function withWritten(value: unknown, written: unknown, seen: Map<unknown, unknown>): unknown {
  if (typeof value === "boolean" || (typeof value === "number" && DECIMAL.test(`${written}`))) {
    return new PlainScalar(value, written as string);
  }
  if (typeof value === "number" || value instanceof Date) return written;
  if (typeof value !== "object" || value === null) return value;
  const before = seen.get(value);
  if (before !== undefined) return before;
  if (Array.isArray(value)) {
    const items: unknown[] = [];
    seen.set(value, items);
    const texts = written as readonly unknown[];
    items.push(...value.map((item, i) => withWritten(item, texts[i], seen)));
    return items;
  }
  const mapping = {};
  seen.set(value, mapping);
  const values = value as Record<string, unknown>;
  for (const [key, text] of entriesOf(written, "<<" in values)) {
    const read = Object.hasOwn(values, key) ? key : String(parse(key)); // 010 is the key "8"
    Object.defineProperty(mapping, key, {
      value: withWritten(values[read], text, seen),
      configurable: true,
      enumerable: true,
      writable: true,
    });
  }
  return mapping;
}

/** Keys and values of a mapping and, unless its `<<` is a key like others, of the mappings that it merges. */
function entriesOf(written: unknown, ordinary: boolean): Map<string, unknown> {
  const entries = new Map<string, unknown>();
  for (const [key, text] of Object.entries(written as Record<string, unknown>)) {
    if (key !== "<<" || ordinary) entries.set(key, text);
  }
  const merged = ordinary ? [] : [(written as Record<string, unknown>)["<<"] ?? []].flat();
  for (const mapping of merged) {
    for (const [key, text] of entriesOf(mapping, false)) {
      if (!entries.has(key)) entries.set(key, text);
    }
  }
  return entries;
}

/** Whether what {@linkcode parseYaml} gave is a mapping. */
export function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) &&
    !(value instanceof PlainScalar);
}

/**
 * The plain value of what {@linkcode parseYaml} gave, read as the types of `schema` say: where text is wanted a plain
 * scalar is its characters. `null` stays null.
 */
export function readAs(schema: z.core.$ZodType, value: unknown): unknown {
  return read(alternativesOf(schema), value);
}

/** Reads a value that may be of any of the types; of none where its key is unknown. */
function read(types: readonly Definition[], value: unknown): unknown {
  if (value instanceof PlainScalar) {
    return types.some(isText) && !types.some(isScalar) ? value.written : value.value;
  }
  if (types.length === 0) return value; // a fault, and an alias might hold itself
  if (Array.isArray(value)) {
    return value.map((item, i) => read(types.flatMap((type) => itemTypes(type, i)), item));
  }
  if (!isMapping(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map((
      [key, inner],
    ) => [key, read(types.flatMap((type) => valueTypes(type, key)), inner)]),
  );
}

type Definition = z.core.$ZodTypes["_zod"]["def"];

/** What a value may be, without the wrappers that let it be absent or null. */
function alternativesOf(schema: z.core.$ZodType): Definition[] {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  switch (def.type) {
    case "optional":
    case "nullable":
    case "default":
    case "prefault":
      return alternativesOf(def.innerType);
    case "union":
      return def.options.flatMap(alternativesOf);
    default:
      return [def];
  }
}

function isText({ type }: Definition): boolean {
  return type === "string" || type === "enum";
}

function isScalar({ type }: Definition): boolean {
  return type === "number" || type === "boolean";
}

function itemTypes(def: Definition, index: number): Definition[] {
  if (def.type === "array") return alternativesOf(def.element);
  const item = def.type === "tuple" ? def.items[index] : undefined;
  return item === undefined ? [] : alternativesOf(item);
}

function valueTypes(def: Definition, key: string): Definition[] {
  if (def.type === "record") return alternativesOf(def.valueType);
  const field = def.type === "object" && Object.hasOwn(def.shape, key) ? def.shape[key] : undefined;
  return field === undefined ? [] : alternativesOf(field);
}
