import { assertEquals, assertThrows } from "@std/assert";
import { InteropError } from "../../lib/interop/errors.ts";
import {
  encodeHeader,
  findDuplicateKey,
  MAX_HEADER_BYTES,
  parseHeader,
  parsePrefix,
  tensorBytes,
} from "../../lib/interop/safetensors_header.ts";

function parse(json: string, dataBytes: number) {
  return parseHeader(new TextEncoder().encode(json), { path: "m.safetensors", dataBytes });
}

function entry(dtype: string, shape: string, offsets: string): string {
  return `{"dtype":${dtype},"shape":${shape},"data_offsets":${offsets}}`;
}

const A = entry('"F32"', "[2]", "[0,8]");

// [what is wrong, the header, bytes of data, part of the message]
const BROKEN: [string, string, number, string][] = [
  ["begins with a space", ` {"a":${A}}`, 8, `begin with "{"`],
  ["is empty", "", 0, "empty header"],
  ["is an array", `[]`, 0, `begin with "{"`],
  ["is no JSON", `{"a":${A}`, 8, "must be JSON"],
  ["names a tensor twice", `{"a":${A},"\\u0061":${A}}`, 8, `"a" twice`],
  ["gives a key of a tensor twice", `{"a":{"dtype":"F32",${A.slice(1)}}`, 8, `"dtype" twice`],
  ["has metadata other than strings", `{"__metadata__":{"n":1},"a":${A}}`, 8, "strings to strings"],
  ["has a tensor that is no object", `{"a":7}`, 0, `tensor "a" must be an object`],
  ["has an unknown dtype", `{"a":${entry('"F31"', "[2]", "[0,8]")}}`, 8, `"F31"`],
  ["has a dtype named like a method", `{"a":${entry('"toString"', "[2]", "[0,8]")}}`, 8, "dtype"],
  ["has no dtype", `{"a":{"shape":[2],"data_offsets":[0,8]}}`, 8, "dtype"],
  ["has a negative dimension", `{"a":${entry('"F32"', "[-2]", "[0,8]")}}`, 8, "shape"],
  ["has a broken dimension", `{"a":${entry('"F32"', "[0.5]", "[0,2]")}}`, 2, "shape"],
  ["has one offset", `{"a":${entry('"F32"', "[2]", "[8]")}}`, 8, "data_offsets"],
  ["ends before it begins", `{"a":${entry('"F32"', "[2]", "[8,0]")}}`, 8, "begin <= end"],
  ["has fewer bytes than its shape", `{"a":${entry('"F32"', "[3]", "[0,8]")}}`, 8, "12 bytes"],
  ["has a shape that overflows", `{"a":${entry('"F32"', "[1e9,1e9]", "[0,8]")}}`, 8, "2^53"],
  [
    "has elements that end within a byte",
    `{"a":${entry('"F4"', "[3]", "[0,1]")}}`,
    1,
    "whole bytes",
  ],
  ["leaves a hole at the front", `{"a":${entry('"F32"', "[2]", "[4,12]")}}`, 12, "hole"],
  [
    "leaves a hole",
    `{"a":${A},"b":${entry('"F32"', "[1]", "[12,16]")}}`,
    16,
    `tensor "b" must begin at byte 8`,
  ],
  ["overlaps", `{"a":${A},"b":${entry('"F32"', "[2]", "[4,12]")}}`, 12, "overlap"],
  ["lies twice in one place", `{"a":${A},"b":${A}}`, 8, "overlap"],
  ["reaches past the file", `{"a":${A}}`, 7, "cut off"],
  ["leaves bytes over", `{"a":${A}}`, 9, "trail"],
];

for (const [what, json, dataBytes, message] of BROKEN) {
  Deno.test(`parseHeader() throws when the header ${what}`, () => {
    const error = assertThrows(() => parse(json, dataBytes), InteropError, message);
    assertEquals(error.message.includes("m.safetensors"), true);
  });
}

Deno.test("parseHeader() throws when the header is not UTF-8", () => {
  const bytes = new TextEncoder().encode(`{"a":${A}}`);
  bytes[2] = 0xff;
  assertThrows(
    () => parseHeader(bytes, { path: "m", dataBytes: 8 }),
    InteropError,
    "UTF-8",
  );
});

Deno.test("parseHeader() takes a header padded with spaces, in any order", () => {
  const header = parse(`{"b":${entry('"U8"', "[3]", "[8,11]")},"a":${A}}   `, 11);
  assertEquals([...header.tensors.keys()], ["a", "b"]);
});

Deno.test("parseHeader() takes empty tensors between others", () => {
  const header = parse(`{"a":${A},"b":${entry('"F32"', "[0,9]", "[8,8]")}}`, 8);
  assertEquals(header.tensors.get("b")!.shape, [0, 9]);
});

Deno.test("parsePrefix() throws when the header is longer than the format allows", () => {
  const prefix = new Uint8Array(8);
  new DataView(prefix.buffer).setBigUint64(0, BigInt(MAX_HEADER_BYTES) + 1n, true);
  assertThrows(
    () => parsePrefix(prefix, { path: "m", fileBytes: 1e12 }),
    InteropError,
    "100000000",
  );
});

Deno.test("parsePrefix() takes a header of exactly the longest length", () => {
  const prefix = new Uint8Array(8);
  new DataView(prefix.buffer).setBigUint64(0, BigInt(MAX_HEADER_BYTES), true);
  assertEquals(parsePrefix(prefix, { path: "m", fileBytes: 1e12 }), MAX_HEADER_BYTES);
});

Deno.test("encodeHeader() sorts by dtype, widest first, then by the bytes of the name", () => {
  // U+FF5E comes before U+1F600 in UTF-8 and after it in UTF-16.
  const names: [string, "F32" | "U8" | "I64"][] = [
    ["z", "U8"],
    ["\u{1F600}", "F32"],
    ["\uFF5E", "F32"],
    ["a", "U8"],
    ["q", "I64"],
  ];
  const { tensors } = encodeHeader(names.map(([name, dtype]) => ({ name, dtype, shape: [1] })), {});
  assertEquals(tensors.map(({ name }) => name), ["q", "\uFF5E", "\u{1F600}", "a", "z"]);
});

Deno.test("tensorBytes() throws when a dimension is no whole number", () => {
  assertThrows(() => tensorBytes({ name: "a", dtype: "F32", shape: [1.5] }), RangeError, "1.5");
});

Deno.test("tensorBytes() gives 0 when a dimension is 0 beside a huge one", () => {
  assertEquals(tensorBytes({ name: "a", dtype: "F32", shape: [2 ** 52, 2 ** 52, 0] }), 0);
});

Deno.test("findDuplicateKey() looks at keys of one object, not at values or strings", () => {
  const cases: [string, string | null][] = [
    [`{"a":1,"b":{"a":2},"c":[{"a":3},{"a":4}]}`, null],
    [`{"a":"a","b":"b"}`, null],
    [`{"a":"{\\"a\\":1,","x":"\\"a\\":"}`, null],
    [`{"a":{"k":1,"k" : 2}}`, `"k"`],
    [`{"x":[{"b":[1,2],"b":3}]}`, `"b"`],
  ];
  assertEquals(cases.map(([json]) => findDuplicateKey(json)), cases.map(([, key]) => key));
});
