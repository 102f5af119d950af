import { assertEquals, assertThrows } from "@std/assert";
import * as z from "zod";
import { parseYaml, readAs } from "../../lib/config/yaml.ts";

const schema = z.record(z.string(), z.object({ name: z.string(), count: z.number() }));

function read(text: string): unknown {
  return readAs(schema, parseYaml(text));
}

Deno.test("readAs() reads the same characters as text or as a number, as the schema says", () => {
  assertEquals(read("a: {name: 12, count: 12}"), { a: { name: "12", count: 12 } });
});

Deno.test("readAs() reads text through anchors, aliases and merges as it is written", () => {
  const text = "a: &a {name: 1e3, count: 1e3}\nb: *a\nc: {<<: *a, count: 2}\nd: {<<: [*a]}";
  const a = { name: "1e3", count: 1000 };
  assertEquals(read(text), { a, b: a, c: { name: "1e3", count: 2 }, d: a });
});

Deno.test("parseYaml() keeps keys as they are written", () => {
  assertEquals(Object.keys(parseYaml("010: a\n~: b\n'<<': c\n2026-01-01: d") as object), [
    ...["010", "~", "<<", "2026-01-01"],
  ]);
});

Deno.test("parseYaml() reads an alias of what it stands in", () => {
  const root = parseYaml("a: &a {b: *a}") as { a: { b: unknown } };
  assertEquals(root.a.b === root.a, true);
});

Deno.test("parseYaml() refuses a tag that no setting has, with its line", () => {
  assertThrows(() => parseYaml("a: 1\nb: !!binary aGk="), SyntaxError, "at line 2");
});
