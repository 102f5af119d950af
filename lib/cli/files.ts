/**
 * Files that a flag names: what the system says of them, as sentences.
 *
 * @module
 */

import { dirname } from "@std/path";
import { decodeText, readText } from "../std/text_file.ts";
import { UsageError } from "./command.ts";

/** Stands for standard input where a flag takes a file to read. */
export const STANDARD_INPUT = "-";

/**
 * The text of the file that `flag` names, or of standard input. Throws {@linkcode UsageError} where it can't be read,
 * and {@linkcode EncodingError} where it isn't in UTF-8.
 */
export async function readTextFlag(flag: string, path: string): Promise<string> {
  if (path === STANDARD_INPUT) {
    return decodeText(await new Response(Deno.stdin.readable).bytes(), "standard input");
  }
  try {
    return await readText(path);
  } catch (error) {
    const reason = reasonOf(error);
    if (reason === null) throw error;
    throw new UsageError(
      `Cannot read --${flag} as ${path} must be a file that can be read: current value is ${reason}; ` +
        `give a text file, or ${STANDARD_INPUT} for standard input`,
    );
  }
}

/** Checks, before any work, that the file that `flag` names can be put where it says. Throws {@linkcode UsageError}. */
export function checkOutputFile(flag: string, path: string): void {
  const folder = dirname(path);
  const found = kindOf(folder);
  if (found !== "a folder") {
    throw new UsageError(
      `Cannot write --${flag} ${path} as ${folder} must be a folder: current value is ${found}; ` +
        (found === "nothing" ? `make it with \`mkdir -p ${folder}\`` : "name another"),
    );
  }
  const there = kindOf(path);
  if (there === "nothing" || there === "a file") return;
  throw new UsageError(
    `Cannot write --${flag} ${path} as it must name a file: current value is ${there}; ` +
      (there === "a folder" ? "name a file in it" : "name another"),
  );
}

/** Makes the folder that `flag` names, and those above it, where there is none. Throws {@linkcode UsageError}. */
export function makeOutputFolder(flag: string, path: string): void {
  try {
    Deno.mkdirSync(path, { recursive: true });
  } catch (error) {
    const reason = error instanceof Deno.errors.AlreadyExists ? "a file" : reasonOf(error);
    if (reason === null) throw error;
    throw new UsageError(
      `Cannot write --${flag} as ${path} must be a folder, or a place for one: current value is ${reason}; name another`,
    );
  }
}

/** Runs what writes the output that `flag` names; what the system refuses becomes a {@linkcode UsageError}. */
export async function writingOutput<Result>(
  { flag, path }: { flag: string; path: string },
  write: () => Result | Promise<Result>,
): Promise<Result> {
  try {
    return await write();
  } catch (error) {
    const reason = reasonOf(error);
    if (reason === null) throw error;
    throw new UsageError(
      `Cannot write --${flag} ${path} as it must be writable: current value is ${reason}; nothing was left there, name another place`,
    );
  }
}

/** What the system has against a file, in its words without Deno's; `null` for an error of another kind. */
function reasonOf(error: unknown): string | null {
  if (error instanceof Deno.errors.NotCapable) {
    return "a device, or a place that the program may not open";
  }
  const match = error instanceof Error ? /^(.*?) \(os error \d+\)/.exec(error.message) : null;
  if (match === null) return null;
  const words = match[1]!.replace(/^Is a/, "a");
  return words.charAt(0).toLowerCase() + words.slice(1);
}

function kindOf(path: string): string {
  try {
    return Deno.statSync(path).isDirectory ? "a folder" : "a file";
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "nothing";
    if (error instanceof Deno.errors.NotADirectory) return "nothing";
    const reason = reasonOf(error);
    if (reason !== null) return reason;
    throw error;
  }
}
