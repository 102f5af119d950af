/**
 * Documents out of a work unit: JSON is parsed here, and what is no text is sorted out.
 *
 * @module
 */
import { findInvalidUtf8, repairUtf8 } from "../../tokenizer/utf8.ts";
import { hasUtf16Mark, withoutMark } from "../../std/text_file.ts";
import { cutText, type TextCut } from "./text_cut.ts";
import type { Piece, WorkUnit } from "./work_units.ts";

/** What becomes of text that is no valid UTF-8. */
export type InvalidUtf8 = "replace" | "skip" | "error";

/** Something that keeps a document from being used. */
export interface Problem {
  /** Number of the file in the listing. */
  readonly file: number;
  /** `line 7` or `row 7`; empty where the whole file is meant. */
  readonly place: string;
  /** Goes on after the file's name and the place. */
  readonly message: string;
  /** What to do, where the problem ends the run; `null` where the document is left out. */
  readonly remedy: string | null;
}

/** A document or a part of one, in valid UTF-8. */
export interface TextPart {
  readonly bytes: Uint8Array;
  readonly first: boolean;
  readonly last: boolean;
  /** Set where the document that the part belongs to can't be used. */
  readonly problem: Problem | null;
}

/** What a unit holds. */
export interface Extracted {
  readonly parts: readonly TextPart[];
  /** Bad records: lines that give no document at all. */
  readonly problems: readonly Problem[];
  /** Documents without a single byte. */
  readonly empty: number;
  /** Malformed sequences that U+FFFD now stands for. */
  readonly replaced: number;
  /** Lengths of the parts' texts, summed. */
  readonly textBytes: number;
}

/** Options of {@linkcode extractText}. */
export interface ExtractOptions {
  /** Field of a JSON line that holds the text. */
  textField: string;
  invalidUtf8: InvalidUtf8;
  /** Where a long text may be cut. */
  cut: TextCut;
}

/** Bytes of a part, as of a unit of a text file. */
const PART_BYTES = 1 << 20;
const NEWLINE = 10;
const HOLDS_NUL = "holds NUL bytes (U+0000): binary data or UTF-16 do, convert it to UTF-8 text";
const encoder = new TextEncoder();

/** Takes the documents out of a unit. */
export function extractText(unit: WorkUnit, options: ExtractOptions): Extracted {
  const extraction = new Extraction(options);
  if (unit.lines !== null) extraction.addLines(unit.bytes, unit.lines);
  for (const piece of unit.pieces) extraction.addPiece(unit.bytes, piece);
  return extraction;
}

class Extraction implements Extracted {
  readonly parts: TextPart[] = [];
  readonly problems: Problem[] = [];
  empty = 0;
  replaced = 0;
  textBytes = 0;
  readonly #options: ExtractOptions;
  readonly #decoder = new TextDecoder("utf-8");

  constructor(options: ExtractOptions) {
    this.#options = options;
  }

  addPiece(unitBytes: Uint8Array, piece: Piece): void {
    const { file, place, first, last, failure } = piece;
    let bytes = unitBytes.subarray(piece.start, piece.end);
    const begins = place === "" && first;
    if (begins) bytes = withoutMark(bytes);
    let problem: Problem | null = null;
    if (failure !== null) problem = { file, place, ...failure };
    else if (begins && hasUtf16Mark(bytes)) {
      problem = { file, place, message: "is UTF-16: save it as UTF-8", remedy: null };
    } else {
      // NUL comes first: UTF-16 should be called what it is, and not be repaired.
      const checked = nulIn(bytes, { file, place }) ?? this.#checkUtf8(bytes, { file, place });
      if (checked instanceof Uint8Array) bytes = checked;
      else problem = checked;
    }
    if (problem !== null) bytes = bytes.subarray(0, 0);
    this.#add({ bytes, first, last, problem });
  }

  addLines(bytes: Uint8Array, lines: { file: number; first: number }): void {
    const allValid = findInvalidUtf8(bytes) < 0;
    let number = lines.first;
    for (let start = 0; start < bytes.length; number++) {
      const newline = bytes.indexOf(NEWLINE, start);
      const end = newline < 0 ? bytes.length : newline;
      let line = bytes.subarray(start, end);
      start = end + 1;
      if (line.length === 0) continue;
      const place = { file: lines.file, place: `line ${number}` };
      if (!allValid) {
        const checked = this.#checkUtf8(line, place);
        if (!(checked instanceof Uint8Array)) {
          this.problems.push(checked);
          continue;
        }
        line = checked;
      }
      this.#addRecord(this.#decoder.decode(line), place);
    }
  }

  #addRecord(json: string, place: { file: number; place: string }): void {
    const { textField, invalidUtf8 } = this.#options;
    let text: unknown;
    try {
      const record: unknown = JSON.parse(json);
      if (typeof record !== "object" || record === null || Array.isArray(record)) {
        this.#reject(place, `is no JSON object but ${kindOf(record)}`);
        return;
      }
      if (!Object.hasOwn(record, textField)) {
        const keys = Object.keys(record).slice(0, 8)
          .map((key) => JSON.stringify(key.length > 40 ? `${key.slice(0, 40)}…` : key)).join(", ");
        this.#reject(place, `has no field "${textField}", only ${keys || "none"}`);
        return;
      }
      text = (record as Record<string, unknown>)[textField];
    } catch (error) {
      if (json.trim() === "") return;
      if (json.includes("\0")) return this.#reject(place, HOLDS_NUL);
      this.#reject(place, `is no JSON: ${error instanceof Error ? error.message : error}`);
      return;
    }
    if (typeof text !== "string") {
      this.#reject(place, `has no text in field "${textField}" but ${kindOf(text)}`);
      return;
    }
    // Puts U+FFFD in the place of what is half of a pair.
    const bytes = encoder.encode(text);
    const nul = nulIn(bytes, place);
    if (nul !== null) {
      this.problems.push(nul);
      return;
    }
    if (!text.isWellFormed()) {
      // Escapes such as \\ud800 without their second half: the JSON form of invalid UTF-8.
      if (invalidUtf8 !== "replace") {
        this.problems.push(malformed(place, { what: "half of a surrogate pair", invalidUtf8 }));
        return;
      }
      this.replaced += countLoneSurrogates(text);
    }
    this.#add({ bytes, first: true, last: true, problem: null });
  }

  #add(part: TextPart): void {
    if (part.first && part.last && part.bytes.length === 0 && part.problem === null) {
      this.empty++;
      return;
    }
    this.textBytes += part.bytes.length;
    let { bytes, first } = part;
    while (bytes.length >= PART_BYTES + 4) {
      const length = cutText(bytes.subarray(0, PART_BYTES + 4), this.#options.cut);
      this.parts.push({ ...part, bytes: bytes.subarray(0, length), first, last: false });
      bytes = bytes.subarray(length);
      first = false;
    }
    this.parts.push({ ...part, bytes, first });
  }

  #reject(place: { file: number; place: string }, message: string): void {
    this.problems.push({ ...place, message, remedy: null });
  }

  #checkUtf8(bytes: Uint8Array, place: { file: number; place: string }): Uint8Array | Problem {
    const at = findInvalidUtf8(bytes);
    if (at < 0) return bytes;
    const { invalidUtf8 } = this.#options;
    if (invalidUtf8 !== "replace") {
      const byte = bytes[at]!.toString(16).padStart(2, "0");
      return malformed(place, { what: `invalid UTF-8 (byte 0x${byte})`, invalidUtf8 });
    }
    const repaired = repairUtf8(bytes);
    this.replaced += repaired.replaced;
    return repaired.bytes;
  }
}

/** The problem of a text that holds NUL, whatever source it came from: the byte itself, or JSON's `\u0000`. */
function nulIn(bytes: Uint8Array, place: { file: number; place: string }): Problem | null {
  if (!bytes.includes(0)) return null;
  return { ...place, message: HOLDS_NUL, remedy: null };
}

function malformed(
  place: { file: number; place: string },
  found: { what: string; invalidUtf8: InvalidUtf8 },
): Problem {
  const { what, invalidUtf8 } = found;
  const remedy = invalidUtf8 === "error"
    ? "Repair it, or pass --invalid-utf8 replace or skip"
    : null;
  return { ...place, message: `holds ${what}`, remedy };
}

function countLoneSurrogates(text: string): number {
  return text.match(/\p{Surrogate}/gu)?.length ?? 0;
}

function kindOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "an array" : `a ${typeof value}`;
}
