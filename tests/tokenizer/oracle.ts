/**
 * Comparing with the official `tokenizers` package.
 */

import { assertEquals } from "@std/assert";
import { Tokenizer as Official } from "tokenizers";
import { type Tokenizer, tokenizerFromJson } from "../../lib/tokenizer/tokenizer.ts";
import { type Json, toBytes } from "./vocabularies.ts";

/** One file in both engines. */
export interface Pair {
  readonly ours: Tokenizer;
  readonly official: Official;
}

const pairs = new Map<() => Json, Promise<Pair>>();

/** Loads the json in both engines, once a process; fails where the native one does not take it. */
export function bothOf(make: () => Json): Promise<Pair> {
  const loaded = pairs.get(make) ?? load(make());
  pairs.set(make, loaded);
  return loaded;
}

async function load(json: Json): Promise<Pair> {
  const ours = await tokenizerFromJson(toBytes(json));
  assertEquals([ours.engine, ours.engineReason], ["native", null]);
  return { ours, official: Official.fromString(JSON.stringify(json)) };
}

/** Fails at the first text whose ids, or the text decoded from them, differ from the package's. */
export async function assertSameAsOfficial(
  make: () => Json,
  texts: readonly string[],
): Promise<void> {
  const { ours, official } = await bothOf(make);
  const encodings = await official.encodeBatch([...texts], { addSpecialTokens: false });
  const wanted = encodings.map((encoding) => encoding.getIds());
  const decoded = await official.decodeBatch(wanted, false);
  const encoder = new TextEncoder();
  const batch = ours.encodeBatch(texts.map((text) => encoder.encode(text)));
  texts.forEach((text, i) => {
    const name = JSON.stringify(text).slice(0, 200);
    const start = i === 0 ? 0 : batch.ends[i - 1]!;
    const ids = batch.ids.subarray(start, batch.ends[i]!);
    assertEquals([...ids], wanted[i], `ids of ${name}`);
    assertEquals(ours.decode(ids), decoded[i], `text of the ids of ${name}`);
  });
}
