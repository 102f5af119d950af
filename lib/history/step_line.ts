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
const MOST = 9e14;

/** Significant digits that are read of a number with a fraction: within single precision, which its column has. */
const DIGITS = 9;

/** A field's name with what follows it, as bytes four at a time. */
interface Key {
  readonly words: Int32Array;
  /** After the words, up to three. */
  readonly rest: Uint8Array;
  readonly length: number;
  readonly column: number;
}

/** Reads step records written by `JSON.stringify`, as this project's runs do. */
export class StepLineReader {
  readonly #row: NumberRow;
  readonly #decoder = new TextDecoder();
  readonly #encoder = new TextEncoder();
  /** Fields in the order of the last line, which the next one most likely has too. */
  #keys: Key[] = [];
  #bytes = new Uint8Array(0);
  #view = new DataView(this.#bytes.buffer);

  constructor(row: NumberRow) {
    this.#row = row;
  }

  /** Whether the line `[from, to)` without its end begins as a step record does. */
  isStep(bytes: Uint8Array, from: number, to: number): boolean {
    if (to - from < START.length) return false;
    for (let i = 0; i < START.length; i++) if (bytes[from + i] !== START[i]) return false;
    return true;
  }

  /**
   * Fills the row from a line that {@linkcode isStep}. False for one that holds more than numbers and nulls, or is torn. Whole
   * numbers are exact up to 9e15; of others nine digits or more are.
   */
  read(bytes: Uint8Array<ArrayBuffer>, from: number, to: number): boolean {
    const { values } = this.#row;
    values.fill(NaN);
    if (bytes !== this.#bytes) {
      this.#bytes = bytes;
      this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    }
    let row = values;
    let at = from + START.length;
    for (let index = 0;; index++) {
      if (bytes[at] !== QUOTE) return false;
      let key = this.#keys[index];
      if (key === undefined || !this.#is(key, at + 1, to)) {
        const end = bytes.indexOf(QUOTE, at + 1);
        if (end === -1 || end + 1 >= to || bytes[end + 1] !== COLON) return false;
        key = this.#learn(this.#decoder.decode(bytes.subarray(at + 1, end)), index);
        row = this.#row.values; // a new column may have moved them
      }
      at += 1 + key.length;
      // ---- the number, or null
      if (bytes[at] === LETTER_N) {
        at += 4;
      } else {
        const negative = bytes[at] === MINUS;
        if (negative) at++;
        let digit = bytes[at]! - ZERO;
        if (!(digit >= 0 && digit <= 9)) return false;
        // Integer arithmetic for the first digits, which for most numbers are all that count.
        let digits = 0;
        let count = 0;
        let power = 0;
        while (digit >= 0 && digit <= 9 && count < DIGITS) {
          digits = (10 * digits + digit) | 0;
          if (digits !== 0) count++;
          digit = bytes[++at]! - ZERO;
        }
        if (digit >= 0 && digit <= 9) {
          let wide = digits;
          for (; digit >= 0 && digit <= 9; digit = bytes[++at]! - ZERO) {
            if (wide <= MOST) wide = 10 * wide + digit;
            else power++;
          }
          digits = wide;
        }
        if (bytes[at] === DOT) {
          digit = bytes[++at]! - ZERO;
          while (digit >= 0 && digit <= 9 && count < DIGITS) {
            digits = 10 * digits + digit;
            if (digits !== 0) count++;
            power--;
            digit = bytes[++at]! - ZERO;
          }
          while (digit >= 0 && digit <= 9) digit = bytes[++at]! - ZERO;
        }
        if (bytes[at] === LETTER_E || bytes[at] === UPPER_E) {
          at++;
          const down = bytes[at] === MINUS;
          if (down || bytes[at] === PLUS) at++;
          let exponent = 0;
          digit = bytes[at]! - ZERO;
          for (; digit >= 0 && digit <= 9; digit = bytes[++at]! - ZERO) {
            exponent = 10 * exponent + digit;
          }
          power += down ? -exponent : exponent;
        }
        const value = scale(digits, power);
        row[key.column] = negative ? -value : value;
      }
      if (at >= to) return false;
      const next = bytes[at++];
      if (next === CLOSE) return at === to;
      if (next !== COMMA) return false;
    }
  }

  /** Whether a key, its quote and its colon stand at `at`. */
  #is({ words, rest, length }: Key, at: number, to: number): boolean {
    if (at + length > to) return false;
    const view = this.#view;
    for (let i = 0; i < words.length; i++, at += 4) {
      if (view.getInt32(at, true) !== words[i]) return false;
    }
    for (let i = 0; i < rest.length; i++) if (this.#bytes[at + i] !== rest[i]) return false;
    return true;
  }

  #learn(name: string, index: number): Key {
    const bytes = this.#encoder.encode(`${name}":`);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const whole = Math.floor(bytes.length / 4);
    const key = {
      words: Int32Array.from({ length: whole }, (_, word) => view.getInt32(4 * word, true)),
      rest: bytes.slice(4 * whole),
      length: bytes.length,
      column: this.#row.column(name),
    };
    this.#keys[index] = key;
    return key;
  }
}

/** `digits` times ten to `power`, rounded two or three times: far within single precision. */
function scale(digits: number, power: number): number {
  if (power === 0) return digits;
  if (power < -290) return Number(`${digits}e${power}`); // ten to it isn't a normal number
  if (power < 0) return power >= -22 ? digits / POWERS[-power]! : digits * 10 ** power;
  return power <= 22 ? digits * POWERS[power]! : digits * 10 ** power;
}
