/**
 * Cuts source files into units of about a megabyte that can be encoded apart from each other.
 *
 * @module
 */
import { reasonOf } from "../errors.ts";
import { readParquetText } from "./parquet.ts";
import { readBytes } from "./read_bytes.ts";
import type { SourceFile } from "./source_files.ts";
import { cutText, type TextCut } from "./text_cut.ts";

/** A stretch of a unit's bytes: a document, or a part of one. */
export interface Piece {
  readonly start: number;
  readonly end: number;
  /** Number of the file in the listing. */
  readonly file: number;
  /** `row 7` or `line 7` of its file; empty for a text file, which is one document. */
  readonly place: string;
  /** Whether a document begins, and ends, with it. */
  readonly first: boolean;
  readonly last: boolean;
  /** Why the document can't be used, where reading it failed. */
  readonly failure: Failure | null;
}

/** Why something can't be used, as in a `Problem`: what goes on after its name, and what to do where that ends the run. */
interface Failure {
  readonly message: string;
  readonly remedy: string | null;
}

/** Work for one encoder: documents and parts of documents, or whole lines of a .jsonl file. */
export interface WorkUnit {
  readonly bytes: Uint8Array;
  readonly pieces: readonly Piece[];
  /** Set where `bytes` are JSON lines: the file's number and the number of the first line, from 1. */
  readonly lines: { readonly file: number; readonly first: number } | null;
}

/** Options of {@linkcode workUnits}. */
export interface WorkUnitOptions {
  /** Where a long text may be cut. */
  cut: TextCut;
  /** Field of JSON lines and column of parquet files that holds the text. */
  textField: string;
  /** Bytes of a unit, about. @default {1048576} */
  unitBytes?: number;
  /** Longest JSON line in bytes; longer ones are bad records. @default {67108864} */
  maxLineBytes?: number;
  /** Told the bytes read from disk, for progress. */
  onRead?: (bytes: number) => void;
}

const NEWLINE = 10;

/** A file of many documents that breaks off: nobody knows how many are lost, so it counts as no bad record. */
function breaksOff(error: unknown): Failure {
  return {
    message: `cannot be read on: ${reasonOf(error)}`,
    remedy: "What follows in the file would be lost without a trace: " +
      "mend it, such as by copying it again, or take it out of the input",
  };
}

/** Yields the units of all files, in order. A file that can't be read on becomes a failure, not an exception. */
export async function* workUnits(
  files: readonly SourceFile[],
  options: WorkUnitOptions,
): AsyncGenerator<WorkUnit, void, undefined> {
  const builder = new UnitBuilder(options.unitBytes ?? 1 << 20);
  for (const [number, file] of files.entries()) {
    if (file.kind === "text") yield* textUnits(file, { number, builder, options });
    else if (file.kind === "parquet") yield* parquetUnits(file, { number, builder, options });
    else {
      yield* builder.flush();
      yield* lineUnits(file, { number, options });
    }
  }
  yield* builder.flush();
}

interface FileContext {
  number: number;
  builder: UnitBuilder;
  options: WorkUnitOptions;
}

async function* textUnits(
  file: SourceFile,
  context: FileContext,
): AsyncGenerator<WorkUnit, void, undefined> {
  const { number, builder, options } = context;
  const target = options.unitBytes ?? 1 << 20;
  const held = new ByteQueue();
  const whole = { file: number, place: "" };
  let first = true;
  try {
    for await (const chunk of readBytes(file, options.onRead ?? ignore)) {
      held.push(chunk);
      while (held.length >= target + 4) {
        // The bytes behind the cut say whether it is a good one, so some are always held back.
        const length = cutText(held.bytes.subarray(0, target + 4), options.cut);
        const piece = { ...whole, first, last: false, failure: null };
        yield* builder.add(held.bytes.subarray(0, length), piece);
        held.drop(length);
        first = false;
      }
    }
    yield* builder.add(held.bytes, { ...whole, first, last: true, failure: null });
  } catch (error) {
    // The file is one document, which is left out whole.
    const message = `cannot be read on after ${first ? "its start" : "a part"}: ${reasonOf(error)}`;
    const failure = { message, remedy: null };
    yield* builder.add(new Uint8Array(0), { ...whole, first, last: true, failure });
  }
}

async function* parquetUnits(
  file: SourceFile,
  context: FileContext,
): AsyncGenerator<WorkUnit, void, undefined> {
  const { number, builder, options } = context;
  const whole = { file: number, first: true, last: true };
  let row = 0;
  try {
    for await (const value of readParquetText(file, options)) {
      row++;
      const place = `row ${row}`;
      if (value instanceof Uint8Array) {
        yield* builder.add(value, { ...whole, place, failure: null });
      } else {
        const failure = { message: value.failure, remedy: null };
        yield* builder.add(new Uint8Array(0), { ...whole, place, failure });
      }
    }
  } catch (error) {
    const failure = breaksOff(error);
    yield* builder.add(new Uint8Array(0), { ...whole, place: `row ${row + 1}`, failure });
  }
}

async function* lineUnits(
  file: SourceFile,
  context: { number: number; options: WorkUnitOptions },
): AsyncGenerator<WorkUnit, void, undefined> {
  const { number, options } = context;
  const { unitBytes = 1 << 20, maxLineBytes = 1 << 26 } = options;
  const held = new ByteQueue();
  let line = 1;
  /** End of the whole lines that are held; a part of one may follow. Kept, so that no byte is looked at twice. */
  let wholeLines = 0;
  // Whether the rest of a line that is too long is being passed over.
  let skipping = false;
  const takeLines = (length: number): WorkUnit => {
    const bytes = held.bytes.slice(0, length);
    held.drop(length);
    wholeLines = 0;
    const first = line;
    // Counted before they are given away: whoever gets a unit may hand its memory to another thread.
    line += countLines(bytes);
    return { bytes, pieces: [], lines: { file: number, first } };
  };
  const failed = (failure: Failure): WorkUnit => {
    const place = { file: number, place: `line ${line}`, first: true, last: true };
    return {
      bytes: new Uint8Array(0),
      pieces: [{ ...place, start: 0, end: 0, failure }],
      lines: null,
    };
  };
  try {
    for await (let chunk of readBytes(file, options.onRead ?? ignore)) {
      const end = chunk.indexOf(NEWLINE);
      if (!skipping && held.length - wholeLines + (end < 0 ? chunk.length : end) > maxLineBytes) {
        if (wholeLines > 0) yield takeLines(wholeLines);
        const message = `is longer than the ${maxLineBytes} bytes that a line may have`;
        yield failed({ message, remedy: null });
        held.drop(held.length);
        skipping = true;
      }
      if (skipping) {
        if (end < 0) continue;
        chunk = chunk.subarray(end + 1);
        skipping = false;
        line++;
      }
      const lastEnd = chunk.lastIndexOf(NEWLINE);
      if (lastEnd >= 0) wholeLines = held.length + lastEnd + 1;
      held.push(chunk);
      if (held.length >= unitBytes && wholeLines > 0) yield takeLines(wholeLines);
    }
    if (held.length > 0) yield takeLines(held.length);
  } catch (error) {
    if (wholeLines > 0) yield takeLines(wholeLines);
    yield failed(breaksOff(error));
  }
}

function countLines(bytes: Uint8Array): number {
  let lines = 0;
  for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) lines++;
  return lines;
}

function ignore(): void {}

/** Collects pieces into one buffer until it is full. */
class UnitBuilder {
  readonly #target: number;
  #bytes: Uint8Array;
  #length = 0;
  #pieces: Piece[] = [];

  constructor(target: number) {
    this.#target = target;
    this.#bytes = new Uint8Array(target);
  }

  *add(bytes: Uint8Array, piece: Omit<Piece, "start" | "end">): Generator<WorkUnit> {
    if (this.#length > 0 && this.#length + bytes.length > this.#target) yield* this.flush();
    if (bytes.length > this.#bytes.length) this.#bytes = new Uint8Array(bytes.length);
    this.#bytes.set(bytes, this.#length);
    const start = this.#length;
    this.#length += bytes.length;
    this.#pieces.push({ ...piece, start, end: this.#length });
    // Many pieces without bytes fill a unit, too.
    if (this.#length >= this.#target || this.#pieces.length >= 1 << 16) yield* this.flush();
  }

  *flush(): Generator<WorkUnit> {
    if (this.#pieces.length === 0) return;
    const unit = {
      bytes: this.#bytes.subarray(0, this.#length),
      pieces: this.#pieces,
      lines: null,
    };
    this.#bytes = new Uint8Array(this.#target);
    this.#length = 0;
    this.#pieces = [];
    yield unit;
  }
}

/** Bytes that come in chunks and leave in other lengths. */
class ByteQueue {
  #buffer = new Uint8Array(1 << 18);
  #start = 0;
  #end = 0;

  get length(): number {
    return this.#end - this.#start;
  }

  /** What is held; good until the next call. */
  get bytes(): Uint8Array {
    return this.#buffer.subarray(this.#start, this.#end);
  }

  push(chunk: Uint8Array): void {
    if (this.#end + chunk.length > this.#buffer.length) {
      const needed = this.length + chunk.length;
      const old = this.bytes;
      if (needed > this.#buffer.length / 2) {
        this.#buffer = new Uint8Array(2 * needed);
        this.#buffer.set(old);
      } else {
        this.#buffer.copyWithin(0, this.#start, this.#end);
      }
      this.#end -= this.#start;
      this.#start = 0;
    }
    this.#buffer.set(chunk, this.#end);
    this.#end += chunk.length;
  }

  drop(length: number): void {
    this.#start += length;
    if (this.#start === this.#end) this.#start = this.#end = 0;
  }
}
