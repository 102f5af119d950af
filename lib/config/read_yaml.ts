/**
 * The text of a YAML file.
 *
 * @module
 */

import { EncodingError, readText, SAVE_AS_UTF8 } from "../std/text_file.ts";
import { ConfigError, type ConfigIssue } from "./errors.ts";
import { firstLine } from "./override.ts";

/** Bytes of a YAML file at most. */
const MAX_BYTES = 2 ** 20;

/**
 * Reads the text of a YAML file.
 *
 * @throws {ConfigError} Where it can't be read, is longer than 1 MiB or isn't in UTF-8.
 */
export async function readYaml(file: string): Promise<string> {
  try {
    const { size } = await Deno.stat(file);
    if (size > MAX_BYTES) {
      const expected = `a YAML file of at most ${MAX_BYTES} bytes`;
      throw new ConfigError(file, [{ source: file, key: "", expected, got: `${size} bytes` }]);
    }
    return await readText(file);
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError(file, [{ source: file, key: "", ...faultOf(error) }]);
  }
}

function faultOf(error: unknown): Pick<ConfigIssue, "expected" | "got" | "hint"> {
  if (error instanceof EncodingError) {
    return { expected: "a YAML file in UTF-8", got: error.found, hint: `; ${SAVE_AS_UTF8}` };
  }
  const got = error instanceof Deno.errors.NotFound ? "no such file" : firstLine(error);
  return { expected: "a YAML file", got };
}
