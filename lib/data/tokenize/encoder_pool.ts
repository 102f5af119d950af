/**
 * Encodes on several threads and gives the results back in order.
 *
 * @module
 */
import type { NativeLibrary } from "../../ffi/library.ts";
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";
import { DataError } from "../errors.ts";
import type { WorkUnit } from "../text/work_units.ts";
import type { FromEncoder, ToEncoder } from "./encode_worker.ts";
import { type EncodedUnit, type EncodeOptions, UnitEncoder } from "./unit_encoder.ts";

/** Units a worker has at a time: one in work and one waiting. */
const UNITS_AHEAD = 2;

/** What {@linkcode encodeUnits} needs. */
export interface EncoderPoolOptions extends EncodeOptions {
  tokenizer: Tokenizer;
  library: NativeLibrary;
  /** Threads; 1 encodes on the calling one. */
  workers: number;
}

/** Encodes units and yields the results in the order of the units, whatever the number of workers. */
export async function* encodeUnits(
  units: AsyncIterable<WorkUnit>,
  options: EncoderPoolOptions,
): AsyncGenerator<EncodedUnit, void, undefined> {
  const { tokenizer, library, workers, ...rest } = options;
  const { textField, invalidUtf8, cut, tokenWidth, startIds, endOfDocumentId } = rest;
  const encodeOptions = { textField, invalidUtf8, cut, tokenWidth, startIds, endOfDocumentId };
  if (workers === 1) {
    const encoder = new UnitEncoder(tokenizer, encodeOptions);
    for await (const unit of units) yield encoder.encode(unit);
    return;
  }
  const start: ToEncoder = {
    kind: "start",
    tokenizer: tokenizer.json,
    libraryPath: library.path,
    options: encodeOptions,
  };
  const threads: EncoderThread[] = [];
  try {
    for (let i = 0; i < workers; i++) threads.push(new EncoderThread(start));
    const inFlight: Promise<EncodedUnit>[] = [];
    let next = 0;
    for await (const unit of units) {
      const result = threads[next++ % workers]!.encode(unit);
      // It is awaited in its turn; until then a failure must not count as unhandled.
      result.catch(() => {});
      inFlight.push(result);
      if (inFlight.length >= workers * UNITS_AHEAD) yield await inFlight.shift()!;
    }
    for (const result of inFlight) yield await result;
  } finally {
    for (const thread of threads) thread.terminate();
  }
}

interface Waiting {
  resolve(result: EncodedUnit): void;
  reject(error: Error): void;
}

/** A worker and the calls that wait for it; it answers in their order. */
class EncoderThread {
  readonly #worker = new Worker(new URL("./encode_worker.ts", import.meta.url), { type: "module" });
  readonly #waiting: Waiting[] = [];
  #failure: Error | null = null;

  constructor(start: ToEncoder) {
    this.#worker.onmessage = (event: MessageEvent<FromEncoder>) => this.#take(event.data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(new DataError(`Cannot go on tokenizing as an encoder stopped: ${event.message}`));
    };
    this.#worker.postMessage(start);
  }

  encode(unit: WorkUnit): Promise<EncodedUnit> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== null) {
        reject(this.#failure);
        return;
      }
      this.#waiting.push({ resolve, reject });
      const message: ToEncoder = { kind: "unit", unit };
      this.#worker.postMessage(message, [unit.bytes.buffer as ArrayBuffer]);
    });
  }

  terminate(): void {
    this.#worker.terminate();
    this.#fail(new DataError("Cannot go on tokenizing as the encoders were stopped"));
  }

  #take(message: FromEncoder): void {
    if (message.kind === "encoded") this.#waiting.shift()?.resolve(message.result);
    else if (message.kind === "failed") this.#fail(new DataError(message.message));
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}
