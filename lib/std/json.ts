/**
 * JSON that others may have written, read into shapes that a schema has checked.
 *
 * The message of each rule of a schema is the phrase after "must be" in an error.
 *
 * @module
 */

import * as z from "zod";
import { describeText, describeValue } from "./describe.ts";
import { decodeText, EncodingError, SAVE_AS_UTF8 } from "./text_file.ts";

/** A file of JSON, and how its faults become errors. */
export interface JsonFile {
  /** For messages, and where {@linkcode readFileUpTo} reads. */
  readonly path: string;
  /** Bytes of the file at most. */
  readonly maxBytes: number;
  /** Makes the error; `key` is the dotted key, empty for the whole file. */
  fail(message: string, details: { key: string; cause?: unknown }): Error;
  /** What to do about a fault. @default nothing is said */
  readonly remedy?: string;
}

/** Levels of lists and objects at most: far more than any file here has, far fewer than a stack holds. */
export const MAX_JSON_DEPTH = 64;

/**
 * The value that a JSON text spells, in the shape of the schema.
 *
 * @throws What `file.fail` makes: for a text that is too long or nests too deep, is not UTF-8 or not JSON, or
 * breaks a rule of the schema.
 */
export function parseJson<T>(data: string | Uint8Array, schema: z.ZodType<T>, file: JsonFile): T {
  return checkShape(parseJsonValue(data, file), schema, file);
}

/** The bytes of a regular file that is no longer than `file.maxBytes`. What the system refuses passes through unchanged. */
export function readFileUpTo(file: JsonFile): Uint8Array<ArrayBuffer> {
  const { path, maxBytes } = file;
  const { isFile, size } = Deno.statSync(path); // before opening, which would wait for a pipe's writer
  if (!isFile) throw wrong(file, "", "it must be a regular file", "a folder, device or pipe");
  if (size > maxBytes) throw tooLong(file, size);
  return Deno.readFileSync(path);
}

/** As {@linkcode readFileUpTo}, the text. */
export function readTextUpTo(file: JsonFile): string {
  return textOf(readFileUpTo(file), file, "text in UTF-8");
}

/** The value that a JSON text spells, not checked against any shape. */
export function parseJsonValue(data: string | Uint8Array, file: JsonFile): unknown {
  if (data.length > file.maxBytes) throw tooLong(file, data.length);
  const text = typeof data === "string" ? data : textOf(data, file, "JSON in UTF-8");
  if (nestsTooDeep(text)) {
    throw wrong(
      file,
      "",
      `it must be JSON of at most ${MAX_JSON_DEPTH} levels`,
      "brackets within brackets, more than that",
    );
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw wrong(file, "", "it must be JSON", describeText((cause as Error).message), cause);
  }
}

/** A value in the shape of the schema; the first rule that it breaks is thrown. */
export function checkShape<T>(value: unknown, schema: z.ZodType<T>, file: JsonFile): T {
  const checked = schema.safeParse(value);
  if (checked.success) return checked.data;
  const issue = checked.error.issues[0]!;
  const key = formatKey(issue.path);
  const rule = key === "" ? `it must hold ${issue.message}` : `${key} must be ${issue.message}`;
  throw wrong(file, key, rule, describeValue(valueAt(value, issue.path)));
}

/** The error of a key that breaks a rule which no schema says; `remedy` in the place of the file's. */
export function wrongKey(
  file: JsonFile,
  { key, rule, found, remedy = file.remedy }: {
    key: string;
    rule: string;
    found: unknown;
    remedy?: string | undefined;
  },
): Error {
  const { remedy: _, ...rest } = file;
  return wrong(
    { ...rest, ...(remedy !== undefined && { remedy }) },
    key,
    `${key} must be ${rule}`,
    describeValue(found),
  );
}

/** One of a few values, written as JSON. */
export function oneOf<const T extends string | number | boolean | null>(
  ...values: readonly T[]
): z.ZodLiteral<T> {
  return z.literal(values, { error: values.map((value) => JSON.stringify(value)).join(" or ") });
}

/** A number from `min` to `max`. */
export function realNumber({ min, max }: { min: number; max: number }): z.ZodNumber {
  const error = `a number from ${min} to ${max}`;
  return z.number({ error }).min(min, { error }).max(max, { error });
}

/** A whole number from `min` to `max`. */
export function wholeNumber(
  { min = 0, max = Number.MAX_SAFE_INTEGER }: { min?: number; max?: number } = {},
): z.ZodInt {
  const error = max < Number.MAX_SAFE_INTEGER
    ? `a whole number from ${min} to ${max}`
    : min === 0
    ? "a whole number"
    : min === 1
    ? "a whole number above 0"
    : `a whole number of at least ${min}`;
  return z.int({ error }).min(min, { error }).max(max, { error });
}

function textOf(bytes: Uint8Array, file: JsonFile, kind: string): string {
  try {
    return decodeText(bytes, file.path);
  } catch (error) {
    if (!(error instanceof EncodingError)) throw error;
    const { remedy = SAVE_AS_UTF8 } = file;
    throw wrong({ ...file, remedy }, "", `it must be ${kind}`, error.found, error);
  }
}

function wrong(file: JsonFile, key: string, rule: string, found: string, cause?: unknown): Error {
  const remedy = file.remedy === undefined ? "" : `; ${file.remedy}`;
  return file.fail(`Cannot read ${file.path} as ${rule}: current value is ${found}${remedy}`, {
    key,
    ...(cause !== undefined && { cause }),
  });
}

function tooLong(file: JsonFile, length: number): Error {
  return wrong(file, "", `it must have at most ${file.maxBytes} bytes`, String(length));
}

/** `model.merges[7]`; a name that is no plain word in quotes. */
function formatKey(path: readonly PropertyKey[]): string {
  let key = "";
  for (const part of path) {
    if (typeof part === "number") key += `[${part}]`;
    else if (!/^[\w-]{1,80}$/.test(String(part))) key += `[${describeValue(String(part))}]`;
    else key += key === "" ? String(part) : `.${String(part)}`;
  }
  return key;
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  for (const key of path) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return undefined;
    value = (value as Record<PropertyKey, unknown>)[key];
  }
  return value;
}

/** Looks at brackets outside strings alone; what is no JSON besides, the parser finds. */
function nestsTooDeep(text: string): boolean {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case 0x22: // "
        for (at++; at < text.length; at++) {
          const code = text.charCodeAt(at);
          if (code === 0x22) break;
          if (code === 0x5c) at++; // backslash
        }
        break;
      case 0x5b: // [
      case 0x7b: // {
        if (++depth > MAX_JSON_DEPTH) return true;
        break;
      case 0x5d:
      case 0x7d:
        depth--;
    }
  }
  return false;
}
