/**
 * What `gzip -9` makes of a text: the yardstick that everybody has.
 *
 * @module
 */

import { join } from "@std/path";
import { constants, gzipSync } from "node:zlib";

/** Sizes of a text. */
export interface GzipSize {
  readonly files: number;
  /** Bytes of the text. */
  readonly bytes: number;
  /** Bytes of the text compressed as one stream. */
  readonly compressed: number;
  /** Which program compressed. */
  readonly by: string;
}

/**
 * Compresses the files of a folder, end to end in the order of their names, as one stream at level 9.
 *
 * By the `gzip` program where there is one, else by zlib. Throws `RangeError` where the folder has no file.
 */
export async function gzipSize(folder: string): Promise<GzipSize> {
  const names = [...Deno.readDirSync(folder)].filter(({ isFile }) => isFile)
    .map(({ name }) => name).sort();
  if (names.length === 0) {
    throw new RangeError(`Cannot compress ${folder} as it must hold files: current count is 0`);
  }
  const parts = names.map((name) => Deno.readFileSync(join(folder, name)));
  const text = new Uint8Array(await new Blob(parts).arrayBuffer());
  const { compressed, by } = await gzip(text);
  return { files: names.length, bytes: text.length, compressed, by };
}

async function gzip(text: Uint8Array<ArrayBuffer>): Promise<{ compressed: number; by: string }> {
  try {
    const child = new Deno.Command("gzip", {
      args: ["-9", "-c"],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    const [output] = await Promise.all([
      new Response(child.stdout).bytes(),
      ReadableStream.from([text]).pipeTo(child.stdin),
    ]);
    const { success } = await child.status;
    if (!success) throw new Error("Cannot compress as gzip failed");
    return { compressed: output.length, by: "the gzip program" };
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    const output = gzipSync(text, { level: constants.Z_BEST_COMPRESSION });
    return { compressed: output.length, by: "zlib at level 9" };
  }
}
