/**
 * The worker in which {@linkcode PackageTokenizer} runs the npm package `tokenizers`.
 *
 * @module
 */

/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />

import type { Tokenizer } from "tokenizers";
import { CONTROL, NO_UNKNOWN, type PackageRequest } from "./package_tokenizer.ts";

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
  const encodings = await encodeAll(engine, texts);
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

async function encodeAll(engine: Tokenizer, texts: string[]) {
  try {
    return await engine.encodeBatch(texts, { addSpecialTokens: false });
  } catch (error) {
    if (!String(error).includes(NO_UNKNOWN)) throw error;
    throw new Error(
      `model.unk_token must stand for characters that have no token: current value is null${await firstLost(
        engine,
        texts,
      )}; give the file one, train a vocabulary that falls back on bytes, or take the character out of the text`,
    );
  }
}

/** Where the first character stands that has no token: a normalizer may make it of others, and then it isn't found. */
async function firstLost(engine: Tokenizer, texts: string[]): Promise<string> {
  const known = new Set<string>();
  for (const text of texts) {
    let at = 0;
    for (const character of text) {
      if (!known.has(character)) {
        try {
          await engine.encode(character, null, { addSpecialTokens: false });
          known.add(character);
        } catch {
          const code = character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0");
          const around = JSON.stringify(text.slice(Math.max(0, at - 20), at + 20));
          return `, and ${JSON.stringify(character)} (U+${code}) has none, in ${around}`;
        }
      }
      at += character.length;
    }
  }
  return "";
}
