/**
 * Line numbers of YAML keys, which the parser doesn't give.
 *
 * @module
 */

/**
 * Maps each dotted key path of a block-style YAML mapping to its line, 1 for the first. Items of a list are
 * numbered (`data.train.0`). Keys inside `{ … }` that stands on one line have that line; a path that isn't found
 * (an anchor's merge, a flow mapping over several lines) is best looked up by its parents, as
 * {@linkcode lineOf} does.
 */
export function yamlLines(text: string): Map<string, number> {
  const lines = new Map<string, number>();
  const open: Frame[] = [{ indent: -1, path: "", items: 0, item: false }];
  let scalarIndent = -1; // inside a block scalar (`key: |`): everything deeper than this is text
  text.split("\n").forEach((raw, index) => {
    const line = raw.replace(/\r$/, "");
    let rest = line.trimStart();
    if (rest === "" || rest.startsWith("#") || /^(---|\.\.\.|%)/.test(line)) return;
    let indent = line.length - rest.length;
    if (scalarIndent >= 0 && indent > scalarIndent) return;
    scalarIndent = -1;

    while (rest === "-" || rest.startsWith("- ")) {
      // Deeper frames and the item before this one are over; a key at the same indent is the list's own.
      while (
        open.at(-1)!.indent > indent || (open.at(-1)!.indent === indent && open.at(-1)!.item)
      ) {
        open.pop();
      }
      const list = open.at(-1)!;
      const path = join(list.path, String(list.items++));
      lines.set(path, index + 1);
      open.push({ indent, path, items: 0, item: true });
      const next = rest.slice(1).trimStart();
      indent += rest.length - next.length;
      rest = next;
    }

    const match = KEY.exec(rest);
    if (match === null) return;
    const [, key, value = ""] = match;
    while (open.at(-1)!.indent >= indent) open.pop();
    const path = join(open.at(-1)!.path, key!.replace(/^(["'])(.*)\1$/, "$2"));
    if (!lines.has(path)) lines.set(path, index + 1);
    open.push({ indent, path, items: 0, item: false });
    if (BLOCK_SCALAR.test(value)) scalarIndent = indent;
    if (value.startsWith("{")) {
      for (const [, inner] of value.matchAll(FLOW_KEY)) lines.set(join(path, inner!), index + 1);
    }
  });
  return lines;
}

/** `key: value` with a plain or quoted key. */
const KEY = /^("(?:[^"\\]|\\.)*"|'[^']*'|[^\s#'"{}[\],&*!|>%@`-][^#:{}[\]]*?)\s*:(?:\s+(.*))?$/;
/** What stands after the colon where text follows in the lines below. */
const BLOCK_SCALAR = /^(?:[&!]\S+\s+)*[|>][+-]?\d?[+-]?\s*(?:#.*)?$/;
/** A key within braces. */
const FLOW_KEY = /[{,]\s*["']?([A-Za-z_][\w-]*)["']?\s*:/g;

/** A mapping or list item that the current line may be inside of. */
interface Frame {
  readonly indent: number;
  readonly path: string;
  /** List items seen under it. */
  items: number;
  /** Whether it is a list item itself. */
  readonly item: boolean;
}

/** Line of a key, or of the nearest parent that is in the file. */
export function lineOf(lines: ReadonlyMap<string, number>, path: string): number | undefined {
  for (let at = path; at !== ""; at = at.slice(0, Math.max(0, at.lastIndexOf(".")))) {
    const line = lines.get(at);
    if (line !== undefined) return line;
  }
  return undefined;
}

function join(parent: string, key: string): string {
  return parent === "" ? key : `${parent}.${key}`;
}
