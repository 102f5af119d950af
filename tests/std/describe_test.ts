import { assertEquals } from "@std/assert";
import { parse } from "@std/yaml";
import { describeText, describeValue } from "../../lib/std/describe.ts";

Deno.test("describeValue() writes what JSON would, on one line", () => {
  assertEquals(describeValue({ a: [1, "b", null, true], c: {} }), '{"a":[1,"b",null,true],"c":{}}');
  assertEquals(describeValue(undefined), "nothing");
});

const circular: Record<string, unknown> = {};
circular.self = circular;
const angry = () => {
  throw new Error("code of the value's ran");
};

for (
  const [what, value, expected] of [
    ["NaN", [NaN, -Infinity, -0], "[NaN,-Infinity,-0]"],
    ["a bigint", { n: 3n }, '{"n":3}'],
    ["a large bigint", 10n ** 5000n, "a number of over 100 digits"],
    ["itself", circular, '{"self":{"self":{"self":{...}}}}'],
    ["toString and toJSON", { toString: 1, toJSON: angry }, '{"toString":1,"toJSON":a function}'],
    [
      "a getter",
      Object.defineProperty({}, "a", { get: angry, enumerable: true }),
      '{"a":a getter}',
    ],
    ["a proxy", [new Proxy({}, { ownKeys: angry, getPrototypeOf: angry })], "[a proxy]"],
    ["the prototype of a proxy", Object.create(new Proxy({}, { ownKeys: angry })), "{}"],
    ["no prototype", Object.create(null), "{}"],
    ["a date", new Date(0), '"1970-01-01T00:00:00.000Z"'],
    ["a date of no time", new Date(NaN), "no date"],
    ["symbols and functions", [Symbol("x"), angry], "[a symbol,a function]"],
    ["holes", new Array(2), "[null,null]"],
    ["bytes", new Uint8Array(3), "3 bytes"],
    ["what moves a terminal", "\x1b[2J\x9b\u202e", '"\\u001b[2J\\u009b\\u202e"'],
  ] as const
) {
  Deno.test(`describeValue() describes ${what}`, () =>
    assertEquals(describeValue(value), expected));
}

Deno.test("describeValue() leaves no half of a character where it cuts", () => {
  assertEquals(describeValue("a".repeat(6) + "😀😀", { limit: 11 }), '"aaaaaa...');
});

Deno.test("describeValue() is short for what aliases make endless", () => {
  const lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"];
  for (let i = 1; i < 30; i++) lines.push(`a${i}: &a${i} [${Array(9).fill(`*a${i - 1}`)}]`);
  const text = describeValue(parse(lines.join("\n")));
  assertEquals(text.length <= 80, true, text);
});

Deno.test("describeValue() is short for a long text, a list of a million and deep nesting", () => {
  let deep: unknown = 1;
  for (let i = 0; i < 100_000; i++) deep = [deep];
  for (const value of ["x".repeat(2 ** 24), new Array(2 ** 32 - 1), deep]) {
    assertEquals(describeValue(value).length <= 80, true);
  }
});

Deno.test("describeText() keeps a message on one line", () => {
  assertEquals(describeText("a\nb\x1b"), "a\\u000ab\\u001b");
});
