/**
 * One program with many commands, each loaded only when it is asked for.
 *
 * @module
 */

import { type Command, reportError, runCommand, UsageError } from "./command.ts";
import { columns } from "./help.ts";
import { keepIgnoredHangup } from "./interrupt.ts";
import { nearest } from "./nearest.ts";

/** A command that isn't loaded yet. */
export interface Subcommand {
  /** The word that starts it. */
  name: string;
  /** The command's own summary, so that the table needs no loading. */
  summary: string;
  /** Imports the file that has it. */
  load(): Promise<{ command: Command }>;
}

/** A program: a name, a version and commands. */
export interface Program {
  name: string;
  summary: string;
  version: string;
  commands: readonly Subcommand[];
}

/**
 * Runs `NAME …`, `help`, `help NAME`, `--help` or `--version` and returns the exit code. No arguments at all
 * print the help and return 1, as a script that lost its arguments should hear of it.
 */
export async function runProgram(program: Program, argv: readonly string[]): Promise<number> {
  const [first, ...rest] = argv;
  keepIgnoredHangup();
  try {
    if (first === "--version" || first === "-V" || first === "version") {
      console.log(`${program.name} ${program.version}`);
      return 0;
    }
    if (first === undefined) {
      console.error(formatProgramHelp(program));
      return 1;
    }
    if (first === "--help" || first === "-h" || (first === "help" && rest.length === 0)) {
      console.log(formatProgramHelp(program));
      return 0;
    }
    const asked = first === "help" ? rest[0]! : first;
    const found = program.commands.find((candidate) => candidate.name === asked);
    if (found === undefined) {
      const names = program.commands.map((candidate) => candidate.name);
      throw new UsageError(
        `Cannot run ${program.name} ${asked} as there is no such command${
          nearest(asked, names) || `: the commands are ${names.join(", ")}`
        }`,
      );
    }
    const { command } = await found.load();
    return await runCommand(command, first === "help" ? ["--help"] : rest);
  } catch (error) {
    return reportError(error);
  }
}

/** The table of commands. */
function formatProgramHelp(program: Program): string {
  return [
    `${program.name} ${program.version}: ${program.summary}`,
    "Usage: deno task COMMAND [flags]",
    "Commands:\n" + columns(program.commands.map(({ name, summary }) => [name, summary] as const)),
    "`deno task COMMAND --help` prints a command's flags and examples.",
  ].join("\n\n");
}
