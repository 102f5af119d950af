/**
 * The trainer's state as JSON, without JSON's losses: NaN, the infinities, -0 and bigints come back
 * as they were, and whatever JSON would drop or bend is an error.
 *
 * @module
 */

import { parseJsonValue, wrongKey } from "../std/json.ts";
import { checkpointJson } from "./errors.ts";

/**
 * Writes a state as JSON text. Numbers JSON lacks become `{"$float": "NaN"}`, bigints
 * `{"$bigint": "12"}`; object fields that are undefined are left out.
 *
 * @throws {TypeError} naming the field that is no number, string, boolean, bigint, null, array or
 * plain object.
 */
export function encodeState(state: object): string {
  return JSON.stringify(encode(state, "state"), null, 2) + "\n";
}

/** Bytes of a state at most: some numbers a step of the stability's windows, far below that. */
export const MAX_STATE_BYTES = 64 * 2 ** 20;

/**
 * Reads what {@linkcode encodeState} wrote.
 *
 * @param path For messages. @default "the state"
 * @throws {CheckpointError} on anything else.
 */
export function decodeState(data: string | Uint8Array, path = "the state"): unknown {
  const file = checkpointJson(path, { maxBytes: MAX_STATE_BYTES });
  return decode(parseJsonValue(data, file), (rule, found) => {
    throw wrongKey(file, { key: "a number that JSON lacks", rule, found });
  });
}

const FLOATS = ["NaN", "Infinity", "-Infinity", "-0"];
const BIGINT = /^-?\d{1,100}$/;

function decode(value: unknown, refuse: (rule: string, found: unknown) => never): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => decode(item, refuse));
  const { $float: float, $bigint: bigint } = value as { $float?: unknown; $bigint?: unknown };
  if (float !== undefined) {
    return FLOATS.some((known) => known === float)
      ? Number(float)
      : refuse(`{"$float": one of ${FLOATS.join(", ")}}`, value);
  }
  if (bigint !== undefined) {
    return typeof bigint === "string" && BIGINT.test(bigint)
      ? BigInt(bigint)
      : refuse('{"$bigint": at most 100 digits}', value);
  }
  return Object.fromEntries(
    Object.entries(value).map(([key, field]) => [key, decode(field, refuse)]),
  );
}

function encode(value: unknown, path: string): unknown {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value;
    case "number":
      if (Number.isFinite(value) && !Object.is(value, -0)) return value;
      return { $float: Object.is(value, -0) ? "-0" : String(value) };
    case "bigint":
      return { $bigint: String(value) };
    case "object":
      if (value === null) return null;
      if (Array.isArray(value)) return value.map((item, i) => encode(item, `${path}[${i}]`));
      if (isPlain(value)) return encodeFields(value, path);
  }
  const found = typeof value === "object" ? value?.constructor?.name : typeof value;
  throw new TypeError(
    `Cannot save ${path} as a trainer's state must be plain data: current value is ${found}; ` +
      `turn it into numbers, strings, arrays or plain objects`,
  );
}

function encodeFields(value: Record<string, unknown>, path: string): Record<string, unknown> {
  const fields: [string, unknown][] = [];
  for (const [key, field] of Object.entries(value)) {
    if (key.startsWith("$")) {
      throw new TypeError(
        `Cannot save ${path} as its field names must not begin with "$": current value is ${key}`,
      );
    }
    if (field !== undefined) fields.push([key, encode(field, `${path}.${key}`)]);
  }
  return Object.fromEntries(fields);
}

function isPlain(value: object): value is Record<string, unknown> {
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
