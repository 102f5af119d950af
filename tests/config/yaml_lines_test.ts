import { assertEquals } from "@std/assert";
import { lineOf, yamlLines } from "../../lib/config/yaml_lines.ts";

Deno.test("yamlLines() finds nested keys past comments and blank lines", () => {
  const lines = yamlLines("# head\n\na:\n  b: 1 # x: y\n\n  c:\n    d: 2\ne: 3\n");
  assertEquals([...lines], [["a", 3], ["a.b", 4], ["a.c", 6], ["a.c.d", 7], ["e", 8]]);
});

Deno.test("yamlLines() numbers list items, indented or not", () => {
  for (const indent of ["", "  "]) {
    const lines = yamlLines(`a:\n${indent}- x\n${indent}- y\nb: 1`);
    assertEquals([...lines], [["a", 1], ["a.0", 2], ["a.1", 3], ["b", 4]]);
  }
});

Deno.test("yamlLines() finds keys of mappings inside lists", () => {
  const lines = yamlLines("a:\n  - b: 1\n    c: 2\n  - b: 3\nd: 4");
  assertEquals(
    [...lines],
    [["a", 1], ["a.0", 2], ["a.0.b", 2], ["a.0.c", 3], ["a.1", 4], ["a.1.b", 4], ["d", 5]],
  );
});

Deno.test("yamlLines() doesn't take text of a block scalar for keys", () => {
  assertEquals([...yamlLines("a: |\n  no: key\n\n  nor: this\nb: 1")], [["a", 1], ["b", 5]]);
});

Deno.test("yamlLines() reads quoted keys and Windows line ends", () => {
  assertEquals([...yamlLines("\"a b\":\r\n  'c': 1\r\n")], [["a b", 1], ["a b.c", 2]]);
});

Deno.test("yamlLines() gives keys of a mapping in braces their line", () => {
  assertEquals(yamlLines("x: 1\ns: {type: cosine, warmup_steps: 3}").get("s.warmup_steps"), 2);
});

Deno.test("lineOf() falls back to the nearest parent that is in the file", () => {
  const lines = yamlLines("a:\n  b: 1\n");
  assertEquals([lineOf(lines, "a.b.c"), lineOf(lines, "a.x"), lineOf(lines, "y")], [
    2,
    1,
    undefined,
  ]);
});
