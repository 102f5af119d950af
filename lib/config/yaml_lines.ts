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
  const open: { indent: number; path: string; items: number }[] = [{
    indent: -1,
    path: "",
    items: 0,
  }];
  let scalarIndent = -1; // inside a block scalar (`key: |`): everything deeper than this is text
  text.split("\n").forEach((raw, index) => {
    const line = raw.replace(/\r$/, "");
    const body = line.trimStart();
    if (body === "" || body.startsWith("#") || /^(---|\.\.\.|%)/.test(line)) return;
    let indent = line.length - body.length;
    if (scalarIndent >= 0 && indent > scalarIndent) return;
    scalarIndent = -1;

    let rest = body;
    while (rest === "-" || rest.startsWith("- ")) { // a list item may sit at its parent's own indent
      while (open.length > 1 && open.at(-1)!.indent > indent) open.pop();
      if (open.at(-1)!.indent === indent && open.at(-1)!.items === 0) {
        open.at(-1)!.indent = indent - 0.5;
      }
      while (open.length > 1 && open.at(-1)!.indent >= indent) open.pop();
      const parent = open.at(-1)!;
      const path = join(parent.path, String(parent.items++));
      lines.set(path, index + 1);
      open.push({ indent, path, items: 0 });
      const next = rest.slice(1).trimStart();
      indent += rest.length - next.length;
      rest = next;
    }
    const key =
      /^("(?:[^"\\]|\\.)*"|'[^']*'|[^\s#'"{}[\],&*!|>%@`-][^#:{}[\]]*?|-[^\s:][^#:]*?)\s*:(?:\s+(.*))?$/
        .exec(
          rest,
        );
    if (key === null) return;
    while (open.length > 1 && open.at(-1)!.indent >= indent) open.pop();
    const path = join(open.at(-1)!.path, key[1]!.replace(/^(["'])(.*)\1$/, "$2"));
    if (!lines.has(path)) lines.set(path, index + 1);
    open.push({ indent, path, items: 0 });
    const value = key[2] ?? "";
    if (/^(?:[&!]\S+\s+)*[|>][+-]?\d?[+-]?\s*(?:#.*)?$/.test(value)) scalarIndent = indent;
    if (value.startsWith("{")) {
      for (const inner of value.matchAll(/[{,]\s*["']?([A-Za-z_][\w-]*)["']?\s*:/g)) {
        lines.set(join(path, inner[1]!), index + 1);
      }
    }
  });
  return lines;
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
