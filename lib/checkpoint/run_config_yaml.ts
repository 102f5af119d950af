/**
 * The config.yaml of a checkpoint, which `train` wrote or a stranger did.
 *
 * @module
 */

import { parse } from "@std/yaml";
import { describeText } from "../std/describe.ts";
import { CheckpointError } from "./errors.ts";

/** Bytes of a config.yaml at most. */
export const MAX_RUN_CONFIG_BYTES = 2 ** 20;

/** What the text spells, not checked against any shape: lists may hold themselves. */
export function parseRunConfigYaml(text: string, path: string): unknown {
  try {
    return parse(text);
  } catch (error) { // a SyntaxError; a RangeError where it nests too deep
    const reason = error instanceof Error ? error.message.split("\n")[0]! : "";
    throw new CheckpointError(
      `Cannot read ${path} as it must be YAML: current value is ${describeText(reason)}`,
      { cause: error },
    );
  }
}
