/**
 * Where records go.
 *
 * @module
 */

import { decodeRecord, encodeRecord, type MetricsRecord } from "./records.ts";

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

/**
 * Appends records to a JSONL file, one whole line a write, so that a killed process leaves at most one torn line.
 */
export class JsonlSink implements MetricsSink {
  readonly path: string;
  readonly #file: Deno.FsFile;
  readonly #encoder = new TextEncoder();

  private constructor(path: string, file: Deno.FsFile) {
    this.path = path;
    this.#file = file;
  }

  /**
   * Opens a file in a folder that exists.
   *
   * With `resumeAfter` the run goes on from a checkpoint: records of what came after it, which is about to happen
   * again, and a torn last line are cut off. Without it a run begins: records that are already there are another
   * run's and are moved aside to `<name>.1.jsonl`, `<name>.2.jsonl`, ….
   */
  static open(path: string, options: { resumeAfter?: ResumePoint } = {}): JsonlSink {
    const { resumeAfter } = options;
    if (resumeAfter === undefined) moveAside(path);
    else truncateAfter(path, resumeAfter);
    return new JsonlSink(path, Deno.openSync(path, { append: true, create: true }));
  }

  write(record: MetricsRecord): void {
    const bytes = this.#encoder.encode(encodeRecord(record));
    for (let at = 0; at < bytes.length;) at += this.#file.writeSync(bytes.subarray(at));
  }

  [Symbol.dispose](): void {
    this.#file.close();
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
