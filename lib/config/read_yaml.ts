/**
 * The text of a YAML file.
 *
 * @module
 */

import { EncodingError, readText, SAVE_AS_UTF8 } from "../std/text_file.ts";
import { ConfigError, type ConfigIssue } from "./errors.ts";
import { firstLine } from "./override.ts";

/** Reads the text of a YAML file. Throws {@linkcode ConfigError} where it can't be read or isn't in UTF-8. */
export async function readYaml(file: string): Promise<string> {
  try {
    return await readText(file);
  } catch (error) {
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
