/**
 * Where records go.
 *
 * @module
 */

import { decodeRecord, encodeRecord, type MetricsRecord, type RunRecord } from "./records.ts";
import { ReopenedFile } from "./reopened_file.ts";

/** Takes records as a run makes them. */
export interface MetricsSink extends Disposable {
  /** Takes one record, at once: a file has it when this returns. Throws where it can't. */
  write(record: MetricsRecord): void;
}

/** Where a run stood: a step, and the steps that rollbacks had undone by then. */
export interface ResumePoint {
  readonly step: number;
  readonly undone: number;
}

/** Options of {@linkcode JsonlSink.open}. */
export interface JsonlSinkOptions {
  readonly resumeAfter?: ResumePoint;
  /** Told once where the file was moved or deleted. */
  readonly warn?: (message: string) => void;
}

/**
 * Appends records to a JSONL file, one whole line a write, so that a killed process leaves at most one torn line.
 *
 * A file that is moved or deleted meanwhile is made anew at its path. It begins with a start of the run at the last step, so that it can
 * be read, and cut, without the one before.
 */
export class JsonlSink implements MetricsSink {
  readonly path: string;
  readonly #file: ReopenedFile;
  readonly #warn: (message: string) => void;
  readonly #encoder = new TextEncoder();
  /** As if the run started now. */
  #start: RunRecord | null = null;
  #warned = false;

  private constructor(file: ReopenedFile, warn: (message: string) => void) {
    this.path = file.path;
    this.#file = file;
    this.#warn = warn;
  }

  /**
   * Opens a file in a folder that exists.
   *
   * With `resumeAfter` the run goes on from a checkpoint: records of what came after it, which is about to happen
   * again, and a torn last line are cut off. Without it a run begins: records that are already there are another
   * run's and are moved aside to `<name>.1.jsonl`, `<name>.2.jsonl`, ….
   */
  static open(path: string, options: JsonlSinkOptions = {}): JsonlSink {
    const { resumeAfter, warn = () => {} } = options;
    if (resumeAfter === undefined) moveAside(path);
    else truncateAfter(path, resumeAfter);
    return new JsonlSink(ReopenedFile.open(path), warn);
  }

  write(record: MetricsRecord): void {
    if (this.#file.reopen()) {
      if (!this.#warned) {
        this.#warn(
          `${this.path} was moved or deleted: records go on in a new file there, those before are where it went`,
        );
      }
      this.#warned = true;
      if (this.#start !== null && record.type !== "run") this.#append(this.#start);
    }
    this.#append(record);
    this.#follow(record);
  }

  #append(record: MetricsRecord): void {
    this.#file.write(this.#encoder.encode(encodeRecord(record)));
  }

  #follow(record: MetricsRecord): void {
    if (record.type === "run") this.#start = record;
    if (this.#start === null) return;
    const isRollback = record.type === "stability" && record.event === "rollback";
    this.#start = {
      ...this.#start,
      step: isRollback ? record.to_step : record.step,
      undone_steps: this.#start.undone_steps + (isRollback ? record.undone_steps : 0),
    };
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }
}

/** Reads a JSONL file's records, leaving out lines that hold none. */
export async function readRecords(path: string): Promise<MetricsRecord[]> {
  const text = await Deno.readTextFile(path);
  return text.split("\n").map(decodeRecord).filter((record) => record !== null);
}

function moveAside(path: string): void {
  if (!sizeOf(path)) return; // absent or empty
  const stem = path.replace(/\.jsonl$/, "");
  for (let number = 1;; number++) {
    const aside = `${stem}.${number}.jsonl`;
    if (sizeOf(aside) === null) {
      Deno.renameSync(path, aside);
      return;
    }
  }
}

/** The steps taken in all, undone ones among them, never go back within a file: everything from the first later record on is cut. */
function truncateAfter(path: string, { step, undone }: ResumePoint): void {
  if (sizeOf(path) === null) return;
  const bytes = Deno.readFileSync(path);
  const decoder = new TextDecoder();
  let keep = 0;
  let undoneBefore = 0;
  while (keep < bytes.length) {
    const end = bytes.indexOf(0x0a, keep);
    if (end === -1) break; // torn
    const record = decodeRecord(decoder.decode(bytes.subarray(keep, end)));
    if (record?.type === "run") undoneBefore = record.undone_steps ?? 0; // older files lack it
    if (record !== null && record.step + undoneBefore > step + undone) break;
    if (record?.type === "stability" && record.event === "rollback") {
      undoneBefore += record.undone_steps;
    }
    keep = end + 1;
  }
  if (keep < bytes.length) Deno.truncateSync(path, keep);
}

/** Bytes of a file, `null` where there is none. */
function sizeOf(path: string): number | null {
  try {
    return Deno.statSync(path).size;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}
