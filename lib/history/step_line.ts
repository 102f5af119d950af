/**
 * Reads lines of step records into rows of numbers, without making objects: half a million of them in a second.
 *
 * @module
 */

/** Where the numbers of a line go. */
export interface NumberRow {
  /** Place of a field in `values`, made where it is new. */
  column(name: string): number;
  /** Numbers by column; NaN where the line has none. */
  readonly values: Float64Array;
}

const START = new TextEncoder().encode('{"type":"step",');
const QUOTE = 0x22;
const COLON = 0x3a;
const COMMA = 0x2c;
const CLOSE = 0x7d;
const MINUS = 0x2d;
const PLUS = 0x2b;
const DOT = 0x2e;
const ZERO = 0x30;
const LETTER_E = 0x65;
const LETTER_N = 0x6e;
const UPPER_E = 0x45;
/** Powers of ten that a double holds exactly. */
const POWERS = Float64Array.from({ length: 23 }, (_, power) => Number(`1e${power}`));
/** Whole numbers up to this take another digit and stay exact. */
const MOST = (Number.MAX_SAFE_INTEGER - 9) / 10;

/** Reads step records written by `JSON.stringify`, as this project's runs do. */
export class StepLineReader {
  readonly #row: NumberRow;
  readonly #decoder = new TextDecoder();
  /** Fields in the order of the last line, which the next one most likely has too. */
  #keys: { bytes: Uint8Array; column: number }[] = [];

  constructor(row: NumberRow) {
    this.#row = row;
  }

  /** Whether the line `[from, to)` without its end begins as a step record does. */
  isStep(bytes: Uint8Array, from: number, to: number): boolean {
    if (to - from < START.length) return false;
    for (let i = 0; i < START.length; i++) if (bytes[from + i] !== START[i]) return false;
    return true;
  }

  /** Fills the row from a line that {@linkcode isStep}. False for one that holds more than numbers and nulls, or is torn. */
  read(bytes: Uint8Array, from: number, to: number): boolean {
    const row = this.#row;
    row.values.fill(NaN);
    let at = from + START.length;
    for (let index = 0;; index++) {
      if (bytes[at] !== QUOTE) return false;
      const column = this.#match(bytes, at + 1, index);
      let key = column;
      if (column !== -1) at += this.#keys[index]!.bytes.length + 1;
      else {
        const end = bytes.indexOf(QUOTE, at + 1);
        if (end === -1 || end >= to) return false;
        key = row.column(this.#decoder.decode(bytes.subarray(at + 1, end)));
        this.#keys[index] = { bytes: bytes.slice(at + 1, end), column: key };
        at = end;
      }
      if (bytes[++at] !== COLON) return false;
      at++;
      // ---- the number, or null
      if (bytes[at] === LETTER_N) {
        at += 4;
      } else {
        let byte = bytes[at]!;
        const negative = byte === MINUS;
        if (negative) byte = bytes[++at]!;
        let digits = 0;
        let power = 0;
        const first = at;
        while (byte >= ZERO && byte <= ZERO + 9) {
          if (digits <= MOST) digits = 10 * digits + (byte - ZERO);
          else power++;
          byte = bytes[++at]!;
        }
        if (at === first) return false;
        if (byte === DOT) {
          byte = bytes[++at]!;
          while (byte >= ZERO && byte <= ZERO + 9) {
            if (digits <= MOST) {
              digits = 10 * digits + (byte - ZERO);
              power--;
            }
            byte = bytes[++at]!;
          }
        }
        if (byte === LETTER_E || byte === UPPER_E) {
          byte = bytes[++at]!;
          const down = byte === MINUS;
          if (down || byte === PLUS) byte = bytes[++at]!;
          let exponent = 0;
          while (byte >= ZERO && byte <= ZERO + 9) {
            exponent = 10 * exponent + (byte - ZERO);
            byte = bytes[++at]!;
          }
          power += down ? -exponent : exponent;
        }
        const value = scale(digits, power);
        row.values[key] = negative ? -value : value;
      }
      if (at >= to) return false;
      const next = bytes[at++];
      if (next === CLOSE) return at === to;
      if (next !== COMMA) return false;
    }
  }

  /** Column of the key that begins at `at` where it is the one expected, else -1. */
  #match(bytes: Uint8Array, at: number, index: number): number {
    const key = this.#keys[index];
    if (key === undefined) return -1;
    const { bytes: expected, column } = key;
    for (let i = 0; i < expected.length; i++) if (bytes[at + i] !== expected[i]) return -1;
    return bytes[at + expected.length] === QUOTE ? column : -1;
  }
}

/** `digits` times ten to `power`, rounded two or three times: far within single precision. */
function scale(digits: number, power: number): number {
  if (power === 0) return digits;
  if (power < -290) return Number(`${digits}e${power}`); // ten to it isn't a normal number
  if (power < 0) return power >= -22 ? digits / POWERS[-power]! : digits * 10 ** power;
  return power <= 22 ? digits * POWERS[power]! : digits * 10 ** power;
}
