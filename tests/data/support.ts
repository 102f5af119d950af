/** Token files for the tests of this room. */
import { openLibrary } from "../../lib/ffi/library.ts";
import type { TokenFileLibrary } from "../../lib/ffi/mapping.ts";
import { TokenFileWriter, type TokenFileWriterOptions } from "../../lib/data/token_writer.ts";

/** The CPU build, which every test machine has. */
export function testLibrary(): TokenFileLibrary {
  return openLibrary({ device: "cpu" });
}

/** Runs a test in a folder of its own and removes it. */
export async function inFolder(body: (folder: string) => void | Promise<void>): Promise<void> {
  const folder = Deno.makeTempDirSync({ prefix: "titanbit_data_" });
  try {
    await body(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** Writes a token file of these ids and returns its path. */
export function writeTokens(
  path: string,
  options: Partial<TokenFileWriterOptions> & { ids: readonly number[] | Uint16Array | Uint32Array },
): string {
  const { ids, vocabSize = 50000, tokenWidth = 2, ...rest } = options;
  using writer = new TokenFileWriter(path, { vocabSize, tokenWidth, ...rest });
  writer.write(Array.isArray(ids) ? Uint32Array.from(ids) : ids as Uint16Array | Uint32Array);
  writer.endDocuments(1);
  writer.close();
  writer.commit();
  return path;
}

/** 0, 1, …, count - 1, or from `start`. */
export function sequence(count: number, start = 0): number[] {
  return Array.from({ length: count }, (_, i) => start + i);
}

/** A batch for B windows of T tokens, filled with a mark that no token has. */
export function emptyBatch(B: number, T: number): { ids: Int32Array; targets: Int32Array } {
  return { ids: new Int32Array(B * T).fill(-7), targets: new Int32Array(B * T).fill(-7) };
}

/** A generator of 32-bit numbers, the same for the same seed. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let x = state;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    return (x ^ (x >>> 16)) >>> 0;
  };
}
