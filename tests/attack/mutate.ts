/** Mutations of inputs: of the bytes of any file, and of the values of a text that is JSON. */

import type { Random } from "../support/random.ts";

/** Values that programs take for others, or make much of. */
const VALUES = [
  ...["null", "true", "-1", "-0", "0.5", "1e999", "-1e999", "1e-300", "1e300", "2e9", "1e15"],
  ...["9007199254740991", "9007199254740993", "4294967296", "2147483648", "0.9999999999"],
  ...['""', '"\\u0000"', '"\\u001b[2J"', '"\\ud800"', '"../../etc/passwd"', '".."', '"NaN"'],
  ...["[]", "[[]]", "{}", '{"toString":1,"valueOf":1}', '{"__proto__":{"x":1}}', '{"toJSON":1}'],
  ...['{"$bigint":"x"}', '{"$float":"x"}', '{"$bigint":"9e9"}', '{"constructor":{"prototype":1}}'],
  `"${"x".repeat(5000)}"`,
  `[${"0,".repeat(2000)}0]`,
  "[".repeat(200) + "]".repeat(200),
  "[".repeat(20_000),
  '{"a":'.repeat(20_000),
];

/** Pieces of other syntaxes, and of none. */
const PIECES = [
  ...["\0", "\r\n", "\t", "\ufeff", "\u2028", "\x1b[31m", "\u202e", "😀", '"', "\\", "{", "}", "["],
  ...[
    "]",
    ":",
    ",",
    "&a [*a]",
    "&a {b: *a}",
    "<<: *a",
    "!!binary x",
    "!!set {a}",
    "- ",
    "? ",
    "|\n",
  ],
  ...[".inf", ".nan", "0x10", "1_000", "~", "2020-01-01", "__proto__: 1", "toString: 1"],
];

const BOMB = Array.from(
  { length: 20 },
  (_, i) => `b${i}: &b${i} [${Array(9).fill(i === 0 ? "x" : `*b${i - 1}`).join(", ")}]\n`,
).join("");

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** An input that comes of `seed` by one to four changes. */
export function mutate(seed: Uint8Array, random: Random): Uint8Array {
  let bytes = seed;
  const changes = random.integer(1, 4);
  for (let i = 0; i < changes; i++) {
    bytes = random.uniform() < 0.6 ? mutateJson(bytes, random) : mutateBytes(bytes, random);
  }
  return bytes;
}

function pick<T>(list: readonly T[], random: Random): T {
  return list[random.integer(0, list.length - 1)]!;
}

function mutateBytes(bytes: Uint8Array, random: Random): Uint8Array {
  const at = random.integer(0, bytes.length);
  const end = Math.min(bytes.length, at + random.integer(1, 16));
  switch (random.integer(0, 6)) {
    case 0: { // a bit
      const flipped = bytes.slice();
      if (at < flipped.length) flipped[at]! ^= 1 << random.integer(0, 7);
      return flipped;
    }
    case 1: // cut short
      return bytes.slice(0, at);
    case 2: // a piece is missing
      return join(bytes.subarray(0, at), bytes.subarray(end));
    case 3: // or twice there
      return join(bytes.subarray(0, end), bytes.subarray(at));
    case 4: // noise
      return join(
        bytes.subarray(0, at),
        Uint8Array.from({ length: random.integer(1, 8) }, () => random.integer(0, 255)),
        bytes.subarray(end),
      );
    case 5:
      return join(bytes.subarray(0, at), encoder.encode(pick(PIECES, random)), bytes.subarray(end));
    default:
      return random.uniform() < 0.1
        ? join(encoder.encode(BOMB), replaceNumber(bytes, random, "*b19"))
        : replaceNumber(bytes, random, pick(VALUES, random));
  }
}

/** Puts a value where a number stands, in JSON, YAML or a header of text. */
function replaceNumber(bytes: Uint8Array, random: Random, value: string): Uint8Array {
  const text = decoder.decode(bytes);
  const numbers = [...text.matchAll(/-?\d+(?:\.\d+)?(?:e-?\d+)?/g)];
  if (numbers.length === 0) return encoder.encode(text + value);
  const { 0: number, index } = pick(numbers, random);
  return encoder.encode(text.slice(0, index) + value + text.slice(index + number.length));
}

/** Stands for a value's text until the JSON is written. */
const MARK = "\u{10fffe}";

/** Replaces, removes, renames or moves a value of a JSON text; of another text, its bytes. */
function mutateJson(bytes: Uint8Array, random: Random): Uint8Array {
  let root: unknown;
  try {
    if (bytes.length > 2 ** 16) throw new RangeError("slow");
    root = JSON.parse(decoder.decode(bytes));
  } catch {
    return mutateBytes(bytes, random);
  }
  const holders: Record<string, unknown>[] = [];
  collect({ root }, holders);
  const holder = pick(holders.filter((each) => Object.keys(each).length > 0), random);
  const key = pick(Object.keys(holder), random);
  const whole = holder === holders[0];
  let value = MARK;
  switch (random.integer(0, 4)) {
    case 0:
      if (!whole) delete holder[key];
      break;
    case 1: {
      const other = pick(holders, random);
      const name = pick(Object.keys(other).concat("x"), random);
      value = JSON.stringify(other[name] ?? null); // by its text, so that nothing holds itself
      holder[key] = MARK;
      break;
    }
    case 2:
      if (!whole && !Array.isArray(holder)) {
        holder[pick(["__proto__x", "toString", "\0", "x".repeat(300), ""], random)] = holder[key];
        delete holder[key];
      }
      break;
    default:
      value = pick(VALUES, random);
      holder[key] = MARK;
  }
  const text = JSON.stringify((holders[0] as { root: unknown }).root) ?? "";
  return encoder.encode(text.replace(JSON.stringify(MARK), () => value));
}

function collect(value: unknown, holders: Record<string, unknown>[]): void {
  if (typeof value !== "object" || value === null || holders.length > 1000) return;
  holders.push(value as Record<string, unknown>);
  for (const inner of Object.values(value)) collect(inner, holders);
}

function join(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
