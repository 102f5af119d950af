/**
 * Reads what a module imports.
 *
 * @module
 */

/** One import of another file of the tree. */
export interface ImportEdge {
  /** Path of the importing file, from the tree's root. */
  readonly from: string;
  /** Path of the imported file, from the tree's root. */
  readonly to: string;
  /** Whether it disappears when types do. */
  readonly typeOnly: boolean;
  /** Counted from 1. */
  readonly line: number;
}

const STATIC = /^(?:import|export)\s+(type\s+)?(\{[^}]*\}|[^"';]*?)\s*(?:from\s*)?"(\.[^"]+)"/gm;
const DYNAMIC = /\bimport\(\s*"(\.[^"]+)"/g;
const WORKER = /\bnew URL\(\s*"(\.[^"]+\.ts)",\s*import\.meta\.url/g;

/** Imports of a module's own tree: static and dynamic ones, and workers. Packages are left out. */
export function importsOf(code: string, from: string): ImportEdge[] {
  const edge = (match: RegExpMatchArray, specifier: string, typeOnly: boolean) => ({
    from,
    to: resolve(from, specifier),
    typeOnly,
    line: code.slice(0, match.index).split("\n").length,
  });
  return [
    ...[...code.matchAll(STATIC)].map((match) =>
      edge(match, match[3]!, match[1] !== undefined || allTypes(match[2]!))
    ),
    ...[...code.matchAll(DYNAMIC), ...code.matchAll(WORKER)].map((match) =>
      edge(match, match[1]!, false)
    ),
  ];
}

/** `{ type A, type B }` imports no value. */
function allTypes(names: string): boolean {
  const inner = /^\{([^}]*)\}$/.exec(names.trim())?.[1];
  if (inner === undefined) return false;
  const parts = inner.split(",").map((part) => part.trim()).filter((part) => part !== "");
  return parts.length > 0 && parts.every((part) => part.startsWith("type "));
}

function resolve(from: string, specifier: string): string {
  return new URL(specifier, `file:///${from}`).pathname.slice(1);
}
