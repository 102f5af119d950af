/// <reference lib="deno.worker" />
/**
 * Encodes work units on a thread of its own. Started by `EncoderPool`.
 *
 * @module
 */
import { openLibrary } from "../../ffi/library.ts";
import { tokenizerFromJson } from "../../tokenizer/tokenizer.ts";
import { reasonOf } from "../errors.ts";
import type { WorkUnit } from "../text/work_units.ts";
import { type EncodedUnit, type EncodeOptions, UnitEncoder } from "./unit_encoder.ts";

/** What the pool sends: first the set-up, then units. */
export type ToEncoder =
  | { kind: "start"; tokenizer: Uint8Array; libraryPath: string; options: EncodeOptions }
  | { kind: "unit"; unit: WorkUnit };

/** What the worker answers, one for each message and in their order. */
export type FromEncoder =
  | { kind: "started" }
  | { kind: "encoded"; result: EncodedUnit }
  | { kind: "failed"; message: string };

let encoder: UnitEncoder | null = null;

async function answer(message: ToEncoder): Promise<void> {
  try {
    if (message.kind === "start") {
      const library = openLibrary({ path: message.libraryPath });
      const tokenizer = await tokenizerFromJson(message.tokenizer, { library });
      encoder = new UnitEncoder(tokenizer, message.options);
      send({ kind: "started" }, []);
      return;
    }
    if (encoder === null) throw new TypeError("a unit came before the set-up");
    const result = encoder.encode(message.unit);
    const { tokens, ends, flags } = result;
    send({ kind: "encoded", result }, [tokens.buffer, ends.buffer, flags.buffer]);
  } catch (error) {
    send({ kind: "failed", message: reasonOf(error) }, []);
  }
}

function send(message: FromEncoder, transfer: ArrayBufferLike[]): void {
  self.postMessage(message, transfer as ArrayBuffer[]);
}

// One message after the other, also while the first one is still opening the tokenizer.
let queue = Promise.resolve();
self.onmessage = (event: MessageEvent<ToEncoder>) => {
  queue = queue.then(() => answer(event.data));
};
