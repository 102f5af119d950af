/**
 * Where a trained tokenizer may be written.
 *
 * @module
 */
import { basename, dirname, join, resolve } from "@std/path";
import { withoutMark } from "../../std/text_file.ts";
import { DataError } from "../errors.ts";
import { readTokenFileInfo } from "../token_format.ts";
import { requireWritable } from "../writable_file.ts";

const NAME = "tokenizer.json";

/** `tokenizer.json` beside the token file. */
export function tokenizerBeside(output: string): string {
  return join(dirname(output), NAME);
}

/**
 * Makes sure that a trained tokenizer can be written to `path` before any work is done: token files beside it that were made with
 * the one that is there could never be used with their tokenizer again.
 *
 * @param replaced Token files that the same run replaces.
 * @throws {DataError} naming such a file.
 */
export async function prepareTokenizer(path: string, replaced: readonly string[]): Promise<void> {
  if (!path.endsWith(".json")) {
    throw new DataError(
      `Cannot write ${path} as a tokenizer's name ends in .json: current name is ${
        JSON.stringify(basename(path))
      }`,
      { path },
    );
  }
  await requireWritable(path);
  const hash = await hashOf(path);
  if (hash === null) return;
  const going = new Set(replaced.map((file) => resolve(file)));
  const users = filesBeside(path).filter((file) =>
    !going.has(resolve(file)) && tokenizerHashOf(file) === hash
  );
  if (users.length === 0) return;
  const more = users.length === 1 ? "" : ` and ${users.length - 1} more`;
  throw new DataError(
    `Cannot replace ${path} as ${
      users[0]
    }${more} beside it can only be used with it. Write to another folder, name another ` +
      `file with --tokenizer-output, or tokenize with the one that is there: --tokenizer ${path}`,
    { path },
  );
}

/** A tokenizer's hash, as token files have it. */
async function hashOf(path: string): Promise<string | null> {
  try {
    const json = withoutMark(await Deno.readFile(path));
    return new Uint8Array(await crypto.subtle.digest("SHA-256", json)).toHex();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

/** Token files in the folder of a file, in the order of their names. */
function filesBeside(path: string): string[] {
  const folder = dirname(path);
  return [...Deno.readDirSync(folder)].filter(({ name }) => name.endsWith(".tokens"))
    .map(({ name }) => join(folder, name)).sort();
}

/** What made a token file, as far as its header can be read. */
function tokenizerHashOf(file: string): string | null {
  try {
    return readTokenFileInfo(file).tokenizerHash;
  } catch (error) {
    if (error instanceof DataError || error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}
