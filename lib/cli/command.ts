/**
 * What a command is: its flags, its help and how it ends.
 *
 * A file of `tasks/` exports one {@linkcode Command} and starts it with
 * `if (import.meta.main) await main(command);`.
 *
 * @module
 */

import { parseArgs } from "@std/cli";
import { dirname, fromFileUrl } from "@std/path";
import { formatHelp } from "./help.ts";
import { keepIgnoredHangup } from "./interrupt.ts";
import { nearest } from "./nearest.ts";
import { tell } from "./progress.ts";
import { VERSION } from "./version.ts";

/** One `--name` of a command. */
export interface Flag {
  /** Name without the dashes, in kebab-case. */
  name: string;
  /** `list` collects one string for each time the flag is given; `integer` stays within ±2^53. */
  kind: "string" | "number" | "integer" | "boolean" | "list";
  /** One phrase for `--help`. */
  help: string;
  /** What stands for the value in `--help`. @default the kind in capitals */
  placeholder?: string;
  /** Value where the flag is not given. */
  default?: string | number | boolean;
  /** Whether the command can't run without the flag. @default false */
  required?: boolean;
  /** One letter, given as `-x`. */
  alias?: string;
  /** The only values that are accepted. */
  choices?: readonly string[];
  /** Smallest accepted number. */
  min?: number;
  /** Largest accepted number. */
  max?: number;
  /** Text of the value where the flag is given without one. @default a value is needed */
  bare?: string;
}

/** An argument without dashes. */
export interface Positional {
  /** Name shown in `--help`. */
  name: string;
  /** One phrase for `--help`. */
  help: string;
  /** @default false */
  required?: boolean;
  /** Whether the last positional takes every argument that is left. @default false */
  variadic?: boolean;
}

/** A verb of the toolkit: `deno task NAME`, and `titanbit NAME` in a packed program. */
export interface Command {
  /** The word that starts it. */
  name: string;
  /** One phrase for the table of commands. */
  summary: string;
  /** Paragraphs under the summary in `--help`. */
  description?: string;
  /** Arguments without dashes, in order. @default none */
  positionals?: readonly Positional[];
  /** Arguments with dashes, in the order `--help` lists them. */
  flags: readonly Flag[];
  /** Whole command lines that work as they stand, written `deno task NAME …`; packing names its own. */
  examples: readonly string[];
  /** Does the work; the number is the exit code, 0 where nothing is returned. */
  run(args: ParsedArgs): Promise<number | void>;
}

/** A command line that doesn't fit the command. The message names the flag, the value and the remedy. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

type FlagValue = string | number | boolean | readonly string[];

/** Checked arguments of one run, read with one typed getter for each kind of flag. */
export class ParsedArgs {
  /** Arguments without dashes, in order. */
  readonly positionals: readonly string[];
  readonly #command: Command;
  readonly #given: ReadonlyMap<string, FlagValue>;

  constructor(
    command: Command,
    values: { given: ReadonlyMap<string, FlagValue>; positionals: readonly string[] },
  ) {
    this.#command = command;
    this.#given = values.given;
    this.positionals = values.positionals;
  }

  /** Whether the command line itself holds the flag, as opposed to its default. */
  has(name: string): boolean {
    return this.#given.has(name);
  }

  /** Text of a `string` flag that is required or has a default. */
  string(name: string): string {
    return this.#present(name, this.optionalString(name));
  }

  /** Text of a `string` flag, or `undefined`. */
  optionalString(name: string): string | undefined {
    return this.#value(name, ["string"]) as string | undefined;
  }

  /** Value of a `number` or `integer` flag that is required or has a default. */
  number(name: string): number {
    return this.#present(name, this.optionalNumber(name));
  }

  /** Value of a `number` or `integer` flag, or `undefined`. */
  optionalNumber(name: string): number | undefined {
    return this.#value(name, ["number", "integer"]) as number | undefined;
  }

  /** Value of an `integer` flag that is required or has a default. */
  integer(name: string): number {
    return this.#present(name, this.optionalInteger(name));
  }

  /** Value of an `integer` flag, or `undefined`. */
  optionalInteger(name: string): number | undefined {
    return this.#value(name, ["integer"]) as number | undefined;
  }

  /** Whether a `boolean` flag is on. */
  boolean(name: string): boolean {
    return (this.#value(name, ["boolean"]) as boolean | undefined) ?? false;
  }

  /** Values of a `list` flag, in the order given; empty where it isn't given. */
  list(name: string): readonly string[] {
    return (this.#value(name, ["list"]) as readonly string[] | undefined) ?? [];
  }

  #value(name: string, kinds: readonly Flag["kind"][]): FlagValue | undefined {
    const flag = this.#command.flags.find((candidate) => candidate.name === name);
    if (flag === undefined || !kinds.includes(flag.kind)) {
      throw new TypeError(
        `Cannot read --${name} as ${kinds.join(" or ")} as ${this.#command.name} declares it ${
          flag === undefined ? "nowhere" : `as ${flag.kind}`
        }`,
      );
    }
    return this.#given.get(name) ?? flag.default;
  }

  #present<T>(name: string, value: T | undefined): T {
    if (value === undefined) {
      throw new TypeError(
        `Cannot read --${name} as ${this.#command.name} neither requires it nor gives it a default`,
      );
    }
    return value;
  }
}

/**
 * Reads a command line against a command's flags.
 *
 * `--name value`, `--name=value`, `-x value` and, for booleans that are on by default, `--no-name` are
 * understood; `--` ends the flags. A value may start with a dash unless it looks like a flag (`--word`).
 *
 * @throws {UsageError} On an unknown flag (with the nearest one), a missing or malformed value, a value outside
 * `choices`, `min` or `max`, a flag given twice that isn't a list, and a positional too many or too few.
 */
export function parseCommand(command: Command, argv: readonly string[]): ParsedArgs {
  const flags = new Map(command.flags.map((flag) => [flag.name, flag]));
  const valued = command.flags.filter((flag) => flag.kind !== "boolean").map((flag) => flag.name);
  const aliases = command.flags.flatMap((flag) =>
    flag.alias === undefined ? [] : [[flag.alias, flag.name] as const]
  );
  const parsed = parseArgs(joinValues(command, argv), {
    string: ["_", ...valued],
    boolean: command.flags.filter((flag) => flag.kind === "boolean").map((flag) => flag.name),
    collect: valued,
    negatable: command.flags.filter((flag) => flag.kind === "boolean" && flag.default === true)
      .map((flag) => flag.name),
    alias: Object.fromEntries(aliases),
    unknown(arg, key) {
      if (key === undefined) return true;
      const written = arg.split("=", 1)[0]!;
      const suggestion = nearest(written, [...flags.keys()].map((name) => `--${name}`));
      throw new UsageError(
        `Cannot run ${command.name} as it has no flag ${written}${
          suggestion || `, see \`deno task ${command.name} --help\``
        }`,
      );
    },
  });

  const given = new Map<string, FlagValue>();
  for (const flag of command.flags) {
    if (flag.kind === "boolean") {
      if (isOnCommandLine(flag, argv)) given.set(flag.name, parsed[flag.name] === true);
      continue;
    }
    const texts = (parsed[flag.name] as string[] | undefined) ?? [];
    if (texts.length === 0) {
      if (flag.required === true) {
        throw new UsageError(
          `Cannot run ${command.name} as --${flag.name} is required: ${flag.help}, ` +
            `see \`deno task ${command.name} --help\``,
        );
      }
      continue;
    }
    if (flag.kind === "list") {
      for (const text of texts) checkChoice(command, flag, text);
      given.set(flag.name, texts);
    } else if (texts.length > 1) {
      throw new UsageError(
        `Cannot run ${command.name} as --${flag.name} may be given once: current values are ${
          texts.map((text) => JSON.stringify(text)).join(" and ")
        }`,
      );
    } else {
      given.set(flag.name, readValue(command, flag, texts[0]!));
    }
  }
  const positionals = parsed._.map(String);
  checkPositionals(command, positionals);
  return new ParsedArgs(command, { given, positionals });
}

/**
 * Runs a command on a command line and returns its exit code: 0, what `run` returned, or 1 after an error (3 after a
 * `DivergedError`), which is printed on stderr as `error: …`. `--help` and `--version` print what they say on stdout instead of running. The stack is
 * printed only under `TITANBIT_TRACE=1`; a reader that closed the pipe ends the command quietly with 141.
 */
export async function runCommand(command: Command, argv: readonly string[]): Promise<number> {
  try {
    if (asksFor(["--help", "-h"], argv)) {
      console.log(formatHelp(command));
      return 0;
    }
    if (asksFor(["--version", "-V"], argv)) {
      console.log(`titanbit ${VERSION}`);
      return 0;
    }
    return (await command.run(parseCommand(command, argv))) ?? 0;
  } catch (error) {
    return reportError(error);
  }
}

/** Exit code of a run that was given up as its numbers went wrong: a script that starts it again must not. */
const EXIT_DIVERGED = 3;

/** Prints an error as every command does and returns the exit code that belongs to it. */
export function reportError(error: unknown): number {
  if (error instanceof Deno.errors.BrokenPipe) return 141; // 128 + SIGPIPE, as a shell expects of a pipe's left side
  const message = error instanceof Error ? error.message || error.name : String(error);
  tell(`error: ${message}`);
  if (wantsTrace() && error instanceof Error) tell(Deno.inspect(error));
  return error instanceof Error && error.name === "DivergedError" ? EXIT_DIVERGED : 1;
}

/** Runs the command on the process's arguments, where the user stands, and ends the process. */
export async function main(command: Command): Promise<never> {
  keepIgnoredHangup();
  try {
    goToCaller();
  } catch (error) {
    Deno.exit(reportError(error));
  }
  Deno.exit(await runCommand(command, Deno.args));
}

/** Makes relative paths those of the user: `deno task` runs in the source tree, and tells where it was called. */
function goToCaller(): void {
  const name = "INIT_CWD";
  if (!mayRead(name)) return;
  const caller = Deno.env.get(name);
  const root = dirname(dirname(dirname(fromFileUrl(import.meta.url))));
  if (caller === undefined || caller === "" || Deno.cwd() !== Deno.realPathSync(root)) return;
  Deno.chdir(caller);
}

function asksFor(flags: readonly string[], argv: readonly string[]): boolean {
  const end = argv.indexOf("--");
  const own = end === -1 ? argv : argv.slice(0, end);
  return flags.some((flag) => own.includes(flag));
}

function wantsTrace(): boolean {
  return mayRead("TITANBIT_TRACE") && Deno.env.get("TITANBIT_TRACE") === "1";
}

function mayRead(variable: string): boolean {
  return Deno.permissions.querySync({ name: "env", variable }).state === "granted";
}

/** Writes `--name value` as `--name=value`, so that a missing value and a value with a dash are told apart. */
function joinValues(command: Command, argv: readonly string[]): string[] {
  const joined: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    const arg = argv[i]!;
    if (arg === "--") return [...joined, ...argv.slice(i)];
    const flag = command.flags.find((candidate) => isFlag(candidate, arg));
    if (flag === undefined || flag.kind === "boolean") {
      joined.push(arg);
      continue;
    }
    if (arg.includes("=")) {
      joined.push(`--${flag.name}=${arg.slice(arg.indexOf("=") + 1)}`);
      continue;
    }
    if (flag.bare !== undefined && (argv[i + 1] ?? "-").startsWith("-")) {
      joined.push(`--${flag.name}=${flag.bare}`);
      continue;
    }
    const value = argv[++i];
    if (value === undefined || value === "--" || /^--[a-z]/i.test(value)) {
      throw new UsageError(
        `Cannot run ${command.name} as ${arg} needs a value: ${flag.help}` +
          (value === undefined || value === "--"
            ? ""
            : `. A value like that is written ${arg}=${value}`),
      );
    }
    joined.push(`--${flag.name}=${value}`);
  }
  return joined;
}

function isFlag(flag: Flag, arg: string): boolean {
  const written = arg.split("=", 1)[0];
  return written === `--${flag.name}` || (flag.alias !== undefined && written === `-${flag.alias}`);
}

function isOnCommandLine(flag: Flag, argv: readonly string[]): boolean {
  const end = argv.indexOf("--");
  const own = end === -1 ? argv : argv.slice(0, end);
  for (const arg of own) {
    if (arg === `--no-${flag.name}`) return true;
    if (!isFlag(flag, arg)) continue;
    const value = arg.includes("=") ? arg.slice(arg.indexOf("=") + 1) : "true";
    if (value !== "true" && value !== "false") {
      throw new UsageError(
        `Cannot read --${flag.name} as it must be true or false: current value is ${
          JSON.stringify(value)
        }`,
      );
    }
    return true;
  }
  return false;
}

function readValue(command: Command, flag: Flag, text: string): string | number {
  if (flag.kind === "string") {
    checkChoice(command, flag, text);
    return text;
  }
  const what = flag.kind === "integer" ? "a whole number" : "a number";
  const value = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : NaN;
  if (!Number.isFinite(value) || (flag.kind === "integer" && !Number.isSafeInteger(value))) {
    throw new UsageError(
      `Cannot read --${flag.name} as it must be ${what}: current value is ${JSON.stringify(text)}`,
    );
  }
  const { min, max } = flag;
  if ((min !== undefined && value < min) || (max !== undefined && value > max)) {
    const range = min !== undefined && max !== undefined
      ? `from ${min} to ${max}`
      : min !== undefined
      ? `of at least ${min}`
      : `of at most ${max}`;
    throw new UsageError(
      `Cannot read --${flag.name} as it must be ${what} ${range}: current value is ${text}`,
    );
  }
  return value;
}

function checkChoice(command: Command, flag: Flag, text: string): void {
  if (flag.choices === undefined || flag.choices.includes(text)) return;
  throw new UsageError(
    `Cannot run ${command.name} as --${flag.name} must be one of ${
      flag.choices.join(", ")
    }: current value is ${JSON.stringify(text)}${nearest(text, flag.choices)}`,
  );
}

function checkPositionals(command: Command, found: readonly string[]): void {
  const declared = command.positionals ?? [];
  const missing = declared.slice(found.length).find((positional) => positional.required);
  if (missing !== undefined) {
    throw new UsageError(
      `Cannot run ${command.name} as <${missing.name}> is required: ${missing.help}, ` +
        `see \`deno task ${command.name} --help\``,
    );
  }
  if (found.length > declared.length && declared.at(-1)?.variadic !== true) {
    throw new UsageError(
      `Cannot run ${command.name} as it takes ${
        declared.length === 0 ? "no argument" : `at most ${declared.length}`
      } without a flag: current value is ${JSON.stringify(found[declared.length])}`,
    );
  }
}
