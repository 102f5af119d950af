/**
 * The prompts of a command line and of a file, and what messages call them.
 *
 * @module
 */

import type { ParsedArgs } from "./command.ts";
import { UsageError } from "./command.ts";
import { readTextFlag, STANDARD_INPUT } from "./files.ts";

/** A text to continue. */
export interface Prompt {
  readonly text: string;
  /** For messages: where it was given. */
  readonly name: string;
  /** Its place among the prompts, from 1. */
  readonly index: number;
  /** Which of its samples this is, from 1. */
  readonly sample: number;
}

/** The prompts of `--prompt`, then the lines of `--prompts` that aren't blank, each as often as `samples` says. */
export async function readPrompts(args: ParsedArgs, samples: number): Promise<Prompt[]> {
  const given = args.list("prompt");
  const path = args.optionalString("prompts");
  const file = path === STANDARD_INPUT ? "standard input" : path;
  const lines = path === undefined ? [] : (await readTextFlag("prompts", path)).split(/\r?\n/);
  const prompts = [
    ...given.map((text, i) => ({
      text,
      name: given.length === 1 ? "--prompt" : `the ${i + 1}${ordinal(i + 1)} --prompt`,
    })),
    ...lines.map((text, i) => ({ text, name: `line ${i + 1} of ${file}` }))
      .filter(({ text }) => text.trim() !== ""),
  ];
  if (prompts.length > 0) {
    return prompts.flatMap((prompt, i) =>
      Array.from({ length: samples }, (_, j) => ({ ...prompt, index: i + 1, sample: j + 1 }))
    );
  }
  throw new UsageError(
    file === undefined
      ? 'Cannot run generate as it needs a prompt: give --prompt "TEXT", or --prompts FILE'
      : `Cannot run generate as ${file} must hold a prompt a line: current value is no line with text`,
  );
}

function ordinal(number: number): string {
  const teen = number % 100 > 10 && number % 100 < 14;
  return teen ? "th" : ["th", "st", "nd", "rd"][number % 10] ?? "th";
}
