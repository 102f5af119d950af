/**
 * The trainer's state as JSON, without JSON's losses: NaN, the infinities, -0 and bigints come back
 * as they were, and whatever JSON would drop or bend is an error.
 *
 * @module
 */

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

/** Reads what {@linkcode encodeState} wrote. Throws `SyntaxError` on anything but JSON. */
export function decodeState(text: string): unknown {
  return JSON.parse(text, (_key, value) => {
    if (typeof value !== "object" || value === null) return value;
    if (typeof value.$float === "string") return Number(value.$float);
    if (typeof value.$bigint === "string") return BigInt(value.$bigint);
    return value;
  });
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
