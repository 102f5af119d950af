/**
 * The command line that goes on with a run.
 *
 * @module
 */

import type { Command, ParsedArgs } from "./command.ts";

/** Flags whose values are in the checkpoint's own config, and those that name and trust it. */
const IN_CHECKPOINT: readonly string[] = [
  ...["config", "set", "device", "peak-tflops", "resume", "trust-config"],
];

/**
 * What to type to go on with the run in `folder`: the checkpoint knows its config, the other flags are given again.
 * `program` is what started this one: `deno task` or `titanbit`; `extra` are further flags.
 */
export function resumeCommand(
  command: Command,
  options: { args: ParsedArgs; folder: string; program: string; extra: readonly string[] },
): string {
  const { args, folder, program, extra } = options;
  const given = command.flags
    .filter(({ name }) => args.has(name) && !IN_CHECKPOINT.includes(name))
    .flatMap(({ name, kind }) => {
      if (kind === "boolean") return [args.boolean(name) ? `--${name}` : `--no-${name}`];
      if (kind === "list") return args.list(name).flatMap((value) => [`--${name}`, value]);
      const value = kind === "string" ? args.string(name) : String(args.number(name));
      return [`--${name}`, value];
    });
  const words = [command.name, "--resume", folder, ...given, ...extra];
  return `${program} ${words.map(quoted).join(" ")}`;
}

/** A word as a shell reads it back. */
function quoted(word: string): string {
  return /^[\w./:@%+=,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
