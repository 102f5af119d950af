/**
 * Values of any origin in the messages of errors.
 *
 * @module
 */

import { types } from "node:util";

/** Characters of a description at most, where nothing else is asked for. */
const LIMIT = 80;
/** Levels of lists and mappings that are shown. */
const DEPTH = 3;
const CUT = "...";
/** What a terminal would act on, turn around or break the line at. */
// deno-lint-ignore no-control-regex -- these are what must not get through
const CONTROLS = /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
/** Integers of more digits than a message could show. */
const LARGE = 10n ** 100n;

/**
 * A value as messages show it: JSON on one line, cut after `limit` characters; `nothing` for an absent one.
 *
 * Defined for every value, those that JSON refuses among them (circular, bigints, NaN), in time and memory
 * that follow from the limit, however much the value holds or its aliases promise. No code of the value's
 * runs: no `toJSON`, no getter, no trap of a proxy.
 *
 * @param options `limit`: characters at most. @default 80
 */
export function describeValue(value: unknown, { limit = LIMIT }: { limit?: number } = {}): string {
  return cut(show(value, DEPTH, limit + 1), limit);
}

/** A text of others, such as a message of the system's, on one line without anything a terminal acts on. */
export function describeText(text: string, { limit = 400 }: { limit?: number } = {}): string {
  return cut(escapeControls(text.slice(0, limit + 1)), limit);
}

function show(value: unknown, depth: number, room: number): string {
  switch (typeof value) {
    case "undefined":
      return "nothing";
    case "string":
      return quote(value, room);
    case "number":
      return Object.is(value, -0) ? "-0" : String(value);
    case "bigint":
      return -LARGE < value && value < LARGE ? String(value) : "a number of over 100 digits";
    case "boolean":
      return String(value);
    case "symbol":
      return "a symbol";
    case "function":
      return "a function";
    case "object":
      return value === null ? "null" : showObject(value, depth, room);
  }
}

function showObject(value: object, depth: number, room: number): string {
  if (types.isProxy(value)) return "a proxy";
  if (types.isDate(value)) {
    const time = Date.prototype.getTime.call(value);
    return Number.isNaN(time) ? "no date" : `"${new Date(time).toISOString()}"`;
  }
  if (ArrayBuffer.isView(value)) return `${value.byteLength} bytes`;
  const isList = Array.isArray(value);
  const [open, close] = isList ? "[]" : "{}";
  if (depth === 0) return `${open}${CUT}${close}`;
  let text = open!;
  let separator = "";
  for (const key of ownKeys(value)) {
    if (text.length > room) break; // what is left would be cut off
    const left = room - text.length;
    const field = Object.getOwnPropertyDescriptor(value, key);
    const shown = field !== undefined && "value" in field
      ? show(field.value, depth - 1, left)
      : field === undefined
      ? "null" // a hole in a list
      : "a getter";
    text += separator + (isList ? "" : `${quote(String(key), left)}:`) + shown;
    separator = ",";
  }
  return text + close;
}

function* ownKeys(value: object): Generator<string | number> {
  if (!Array.isArray(value)) return yield* Object.keys(value);
  for (let i = 0; i < value.length; i++) yield i; // which needs no list of a million indexes
}

function quote(text: string, room: number): string {
  return escapeControls(JSON.stringify(text.slice(0, Math.max(0, room))));
}

function escapeControls(text: string): string {
  return text.replace(
    CONTROLS,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Leaves no half of a character that takes two. */
function cut(text: string, limit: number): string {
  if (text.length <= limit) return text;
  const kept = text.slice(0, limit - CUT.length);
  return (/[\ud800-\udbff]$/.test(kept) ? kept.slice(0, -1) : kept) + CUT;
}
