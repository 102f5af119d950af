/**
 * The text that `--help` prints.
 *
 * @module
 */

import type { Command, Flag } from "./command.ts";

const WIDTH = 100;

/** Help of one command: usage, description, arguments, flags with defaults and choices, examples. */
export function formatHelp(command: Command): string {
  const positionals = command.positionals ?? [];
  const usage = [
    `deno task ${command.name}`,
    ...positionals.map((positional) => {
      const name = positional.variadic ? `${positional.name}...` : positional.name;
      return positional.required ? `<${name}>` : `[${name}]`;
    }),
    ...command.flags.filter((flag) => flag.required).map((flag) =>
      `--${flag.name} ${valueOf(flag)}`
    ),
    "[flags]",
  ].join(" ");
  const rows = [
    ...command.flags.map((flag) => [flagColumn(flag), flagHelp(flag)] as const),
    ["-h, --help", "print this help"] as const,
    ["-V, --version", "print the version"] as const,
  ];
  const sections = [
    `${command.name}: ${command.summary}`,
    `Usage: ${usage}`,
  ];
  if (command.description !== undefined) sections.push(command.description.trim());
  if (positionals.length > 0) {
    sections.push("Arguments:\n" + columns(positionals.map((p) => [p.name, p.help] as const)));
  }
  sections.push("Flags:\n" + columns(rows));
  if (command.examples.length > 0) {
    sections.push("Examples:\n" + command.examples.map((example) => `  ${example}`).join("\n"));
  }
  return sections.join("\n\n");
}

/** Two columns: terms, and their explanations wrapped at 100 columns. */
export function columns(rows: readonly (readonly [term: string, text: string])[]): string {
  const width = Math.min(34, Math.max(...rows.map(([term]) => term.length)));
  const indent = " ".repeat(width + 4);
  return rows.map(([term, text]) => {
    const lines = wrap(text, WIDTH - width - 4);
    const head = term.length > width ? `  ${term}\n${indent}` : `  ${term.padEnd(width)}  `;
    return (head + lines.join(`\n${indent}`)).trimEnd();
  }).join("\n");
}

function flagColumn(flag: Flag): string {
  const short = flag.alias === undefined ? "" : `-${flag.alias}, `;
  const name = flag.kind === "boolean" && flag.default === true ? `[no-]${flag.name}` : flag.name;
  return flag.kind === "boolean" ? `${short}--${name}` : `${short}--${name} ${valueOf(flag)}`;
}

function valueOf(flag: Flag): string {
  if (flag.placeholder !== undefined) return flag.placeholder;
  if (flag.choices !== undefined) return flag.choices.join("|");
  return { string: "TEXT", number: "NUMBER", integer: "N", boolean: "", list: "TEXT" }[flag.kind];
}

function flagHelp(flag: Flag): string {
  const notes: string[] = [];
  if (flag.required) notes.push("required");
  if (flag.kind === "list") notes.push("may be given several times");
  if (flag.choices !== undefined && flag.placeholder !== undefined) {
    notes.push(`one of ${flag.choices.join(", ")}`);
  }
  if (flag.default !== undefined && flag.default !== false) notes.push(`default ${flag.default}`);
  return notes.length === 0 ? flag.help : `${flag.help} (${notes.join("; ")})`;
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/\s+/)) {
    if (line.length > 0 && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line.length === 0 ? word : `${line} ${word}`;
    }
  }
  lines.push(line);
  return lines;
}
