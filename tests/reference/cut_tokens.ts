/**
 * Copies the first documents of a token file into another one, for a data set that has to travel.
 *
 *     deno run -A tests/reference/cut_tokens.ts --in data/text.tokens --out data/text-carry/train.tokens --tokens 17e6
 *
 * Takes whole documents, as many as fit into --tokens.
 */

import { parseArgs } from "@std/cli";
import { TokenFileWriter } from "../../lib/data/token_writer.ts";
import { readTokenFileInfo } from "../../lib/data/token_format.ts";

function cutTokens(from: string, to: string, most: number): void {
  const info = readTokenFileInfo(from);
  const { tokenWidth, tokenCount, dataOffset, vocabSize, endOfDocumentId } = info;
  if (vocabSize === null || endOfDocumentId === null) {
    throw new Error(`Cannot cut ${from} as its header must name the vocabulary and the end id`);
  }
  const bytes = new Uint8Array(Math.min(most, tokenCount) * tokenWidth);
  using file = Deno.openSync(from);
  file.seekSync(dataOffset, Deno.SeekMode.Start);
  for (let done = 0; done < bytes.length;) done += file.readSync(bytes.subarray(done)) ?? NaN;
  const ids = tokenWidth === 2 ? new Uint16Array(bytes.buffer) : new Uint32Array(bytes.buffer);
  const kept = ids.subarray(0, ids.lastIndexOf(endOfDocumentId) + 1);
  let documents = 0;
  for (const id of kept) documents += id === endOfDocumentId ? 1 : 0;
  if (documents === 0) {
    throw new Error(`Cannot cut ${from} as no document fits into ${most} tokens`);
  }
  using writer = new TokenFileWriter(to, {
    ...{ ...info, vocabSize },
    startIds: info.startIds ?? [],
  });
  writer.write(kept);
  writer.endDocuments(documents);
  writer.commit();
  console.log(`${to}: ${documents} documents, ${kept.length} of ${tokenCount} tokens`);
}

if (import.meta.main) {
  const args = parseArgs(Deno.args, { string: ["in", "out", "tokens"] });
  const most = Number(args.tokens);
  if (!(most >= 1)) throw new Error("Cannot cut without --in, --out and --tokens, a number");
  cutTokens(String(args.in), String(args.out), most);
}
