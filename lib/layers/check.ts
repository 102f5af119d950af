/**
 * Rules of the source tree that no compiler knows.
 *
 * Each takes the tree's files and returns what breaks it, one line each, with the file and the rule.
 *
 * @module
 */

import { parseHeader } from "./c_header.ts";
import { type ImportEdge, importsOf } from "./imports.ts";
import { NATIVE_ROOM, ROOMS } from "./rooms.ts";

/** Texts of a tree's files by path from its root. */
export type SourceTree = ReadonlyMap<string, string>;

/** What was found: errors break the build, warnings ask for thought. */
export interface Findings {
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
}

/** Most lines of a file. */
const SOFT_LINES = 400;
const HARD_LINES = 600;
/** Most lines of a file of `tasks/`. */
const TASK_LINES = 80;

const HEADER = "cuda/include/titanbit.h";
const GENERATED = /\bgenerated\b.*\b(do not edit|by)\b/i;

/** Every rule on a tree. */
export function checkTree(tree: SourceTree): Findings {
  const sizes = checkSizes(tree);
  return {
    errors: [...checkArrows(tree), ...checkNames(tree), ...checkOps(tree), ...sizes.errors],
    warnings: sizes.warnings,
  };
}

/** Imports against docs/architecture.md, and native calls outside their room. */
export function checkArrows(tree: SourceTree): string[] {
  const errors: string[] = [];
  for (const [path, code] of tree) {
    if (!path.endsWith(".ts")) continue;
    for (const edge of importsOf(code, path)) {
      const rule = brokenArrow(edge);
      if (rule !== null) errors.push(`${path}:${edge.line} imports ${edge.to}, but ${rule}`);
    }
    const room = roomOf(path);
    const native = /\bDeno\.(dlopen|UnsafePointer|UnsafePointerView|UnsafeCallback)\b(?!`)/
      .exec(code.replace(/^\s*(\*|\/\/).*$/gm, ""));
    if (room !== null && room !== NATIVE_ROOM && native !== null) {
      errors.push(`${path} says ${native[0]}, but only lib/${NATIVE_ROOM} may`);
    }
  }
  return errors;
}

/** The rule that an import breaks, or `null`. */
function brokenArrow({ from, to, typeOnly }: ImportEdge): string | null {
  if (to.startsWith("tests/") && !from.startsWith("tests/")) return "nothing imports tests";
  const room = roomOf(from);
  if (room === null) return null;
  const rules = ROOMS[room];
  if (rules === undefined) return `lib/${room} has no row in lib/layers/rooms.ts`;
  const target = roomOf(to);
  if (target === null) {
    return to === "deno.json" ? null : "nothing in lib/ imports what is outside it";
  }
  if (target === room || target === "std") return null;
  const file = to.replace(/^lib\//, "").replace(/\.ts$/, "");
  const holds = (list: readonly string[]) =>
    list.some((entry) => entry === "*" || entry === target || entry === file);
  if (holds(rules.imports) || (typeOnly && holds(rules.types ?? []))) return null;
  const types = rules.types === undefined ? "" : `, types of ${rules.types.join(", ")}`;
  return `lib/${room} may import ${rules.imports.join(", ") || "no other room"}${types}`;
}

function roomOf(path: string): string | null {
  return /^lib\/([^/]+)\//.exec(path)?.[1] ?? null;
}

/** Lengths of files; generated ones may be as long as they are. */
export function checkSizes(tree: SourceTree): Findings {
  const errors: string[] = [];
  const warnings: string[] = [];
  for (const [path, text] of tree) {
    if (path === HEADER || GENERATED.test(text.slice(0, 600))) continue;
    const lines = text.split("\n").length - 1;
    if (lines > HARD_LINES) errors.push(`${path} has ${lines} lines, at most ${HARD_LINES}`);
    else if (lines > SOFT_LINES) warnings.push(`${path} has ${lines} lines, aim at ${SOFT_LINES}`);
    if (path.startsWith("tasks/") && lines > TASK_LINES) {
      warnings.push(`${path} has ${lines} lines, a task aims at ${TASK_LINES}`);
    }
  }
  return { errors, warnings };
}

/** File names are snake_case. */
export function checkNames(tree: SourceTree): string[] {
  return [...tree.keys()]
    .filter((path) => !/^[a-z0-9_]+(\.[a-z0-9_]+)*$/.test(path.split("/").at(-1)!))
    .map((path) => `${path} is not snake_case`);
}

/** Every C function is called by `lib/`, and every wrapper of `lib/kernels` has its folder of tests. */
export function checkOps(tree: SourceTree): string[] {
  const callers = new Map<string, string[]>();
  for (const [path, code] of tree) {
    if (!path.startsWith("lib/") || path.startsWith("lib/ffi/symbols")) continue;
    for (const [, name] of code.matchAll(/\.(tb_\w+)\b/g)) {
      callers.set(name!, [...(callers.get(name!) ?? []), path]);
    }
  }
  const errors: string[] = [];
  for (const { name } of parseHeader(tree.get(HEADER) ?? "")) {
    if (!callers.has(name)) errors.push(`${HEADER} declares ${name}, but nothing in lib/ calls it`);
  }
  const wrappers = new Set([...callers.values()].flat());
  for (const path of [...wrappers].sort()) {
    const op = /^lib\/kernels\/(\w+)\.ts$/.exec(path)?.[1];
    const folder = `tests/kernels/${op}/`;
    const isTested = [...tree.keys()].some((test) =>
      test.startsWith(folder) && test.endsWith("_test.ts")
    );
    if (op !== undefined && !isTested) errors.push(`${path} has no test in ${folder}`);
  }
  return errors;
}
