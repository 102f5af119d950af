import { assertEquals, assertThrows } from "@std/assert";
import { join } from "@std/path";
import * as z from "zod";
import { type JsonFile, MAX_JSON_DEPTH, parseJson, readFileUpTo } from "../../lib/std/json.ts";

class FileError extends Error {}

const FILE: JsonFile = {
  path: "a.json",
  maxBytes: 2 ** 20,
  remedy: "write it again",
  fail: (message) => new FileError(message),
};

const schema = z.object({
  list: z.array(z.object({ "odd name": z.number({ error: "a number" }) })),
}, { error: "a JSON object" });

function messageOf(text: string | Uint8Array, file = FILE): string {
  return assertThrows(() => parseJson(text, schema, file), FileError).message;
}

Deno.test("parseJson() gives what the schema takes", () => {
  assertEquals(parseJson('{"list":[],"more":1}', schema, FILE), { list: [] });
});

Deno.test("parseJson() names file, key, rule, value and remedy", () => {
  assertEquals(
    messageOf('{"list":[{"odd name":"x"}]}'),
    'Cannot read a.json as list[0]["odd name"] must be a number: current value is "x"; write it again',
  );
});

for (
  const [what, text, message] of [
    ["no object", "[]", "it must hold a JSON object: current value is []"],
    ["no JSON", "{", "it must be JSON: current value is Expected"],
    ["not UTF-8", Uint8Array.of(0x22, 0xff, 0x22), "it must be JSON in UTF-8"],
    ["nested too deep", "[".repeat(1e6), `it must be JSON of at most ${MAX_JSON_DEPTH} levels`],
    ["too long", " ".repeat(2 ** 20 + 1), "it must have at most 1048576 bytes"],
  ] as const
) {
  Deno.test(`parseJson() says so when the text is ${what}`, () => {
    assertEquals(messageOf(text).startsWith(`Cannot read a.json as ${message}`), true);
  });
}

Deno.test("parseJson() takes brackets in strings for letters", () => {
  const text = JSON.stringify({ list: [], name: '\\"[{'.repeat(100) });
  assertEquals(parseJson(text, schema, FILE), { list: [] });
});

Deno.test("readFileUpTo() refuses folders, pipes, devices and long files", async () => {
  const folder = Deno.makeTempDirSync();
  try {
    const pipe = join(folder, "pipe");
    await new Deno.Command("mkfifo", { args: [pipe] }).output();
    const long = join(folder, "long");
    Deno.writeFileSync(long, new Uint8Array(0));
    Deno.truncateSync(long, 2 ** 40); // a hole
    for (const path of [folder, pipe, "/dev/zero", long]) {
      assertThrows(() => readFileUpTo({ ...FILE, path }), FileError, path);
    }
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});
