/**
 * The worker in which {@linkcode PackageTokenizer} runs the npm package `tokenizers`.
 *
 * @module
 */

/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />

import type { Tokenizer } from "tokenizers";
import { CONTROL, type PackageRequest } from "./package_tokenizer.ts";

let tokenizer: Tokenizer;
let plainTokenizer: Tokenizer | null = null; // made when special tokens are first read as text
let makePlainTokenizer: () => Tokenizer;
let control: Int32Array;
let page: Uint8Array;
let answer = new Uint8Array(0);
let sent = 0;

self.onmessage = async (event: MessageEvent<PackageRequest>) => {
  const request = event.data;
  if (request.op === "load") return await load(request);
  if (request.op !== "more") {
    sent = 0;
    try {
      answer = request.op === "encode"
        ? await encode(request.texts, request.specialsAsText)
        : new TextEncoder().encode(await tokenizer.decode(request.ids, false));
      control[CONTROL.ok] = 1;
    } catch (error) {
      answer = new TextEncoder().encode(error instanceof Error ? error.message : String(error));
      control[CONTROL.ok] = 0;
    }
    control[CONTROL.bytes] = answer.length;
  }
  const part = answer.subarray(sent, sent + page.length);
  page.set(part);
  sent += part.length;
  Atomics.store(control, CONTROL.state, 1);
  Atomics.notify(control, CONTROL.state);
};

async function load(request: PackageRequest & { op: "load" }): Promise<void> {
  control = new Int32Array(request.control);
  page = new Uint8Array(request.page);
  try {
    const library = await import("tokenizers");
    tokenizer = library.Tokenizer.fromString(request.json);
    makePlainTokenizer = () => library.Tokenizer.fromString(request.plainJson);
    self.postMessage(null);
  } catch (error) {
    self.postMessage(error instanceof Error ? error.message : String(error));
  }
}

async function encode(
  texts: string[],
  specialsAsText: boolean,
): Promise<Uint8Array<ArrayBuffer>> {
  const engine = specialsAsText ? plainTokenizer ??= makePlainTokenizer() : tokenizer;
  const encodings = await engine.encodeBatch(texts, { addSpecialTokens: false });
  const ids = encodings.map((encoding) => encoding.getIds());
  const words = new Uint32Array(ids.reduce((sum, part) => sum + 1 + part.length, 0));
  let at = 0;
  for (const part of ids) {
    words[at] = part.length;
    words.set(part, at + 1);
    at += 1 + part.length;
  }
  return new Uint8Array(words.buffer);
}
