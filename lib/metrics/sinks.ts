/**
 * Where records go.
 *
 * @module
 */

import { decodeRecord, encodeRecord, type MetricsRecord } from "./records.ts";

/** Takes records as a run makes them. */
export interface MetricsSink extends Disposable {
  /** Takes one record; when it returns, the record has left the process. */
  write(record: MetricsRecord): void;
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
   * With `resumeAfterStep` the run goes on from a checkpoint of that step: records of later steps, which are about
   * to happen again, and a torn last line are cut off. Without it a run begins: records that are already there
   * are another run's and are moved aside to `<name>.1.jsonl`, `<name>.2.jsonl`, ….
   */
  static open(path: string, options: { resumeAfterStep?: number } = {}): JsonlSink {
    const { resumeAfterStep } = options;
    if (resumeAfterStep === undefined) moveAside(path);
    else truncateAfter(path, resumeAfterStep);
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

/** Takes records and keeps none: for runs with `logging.jsonl: null`. */
export function nullSink(): MetricsSink {
  return { write() {}, [Symbol.dispose]() {} };
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

/** Steps never go back within a file, so everything from the first later record on is cut. */
function truncateAfter(path: string, step: number): void {
  if (sizeOf(path) === null) return;
  const bytes = Deno.readFileSync(path);
  const decoder = new TextDecoder();
  let keep = 0;
  while (keep < bytes.length) {
    const end = bytes.indexOf(0x0a, keep);
    if (end === -1) break; // torn
    const record = decodeRecord(decoder.decode(bytes.subarray(keep, end)));
    if (record !== null && record.step > step) break;
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
