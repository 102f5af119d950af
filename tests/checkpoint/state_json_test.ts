import { assertEquals, assertThrows } from "@std/assert";
import { decodeState, encodeState } from "../../lib/checkpoint/state_json.ts";

Deno.test("decodeState() gives back what JSON alone would lose", () => {
  const state = {
    numbers: [NaN, Infinity, -Infinity, -0, 0, 5e-324, 0.1, 2 ** 53 + 2],
    seed: 2n ** 64n - 1n,
    deep: [{ a: [null, true, "NaN"] }],
  };
  const back = decodeState(encodeState(state)) as typeof state;
  assertEquals(back, state);
  assertEquals(back.numbers.map((x) => Object.is(x, -0)).indexOf(true), 3);
});

Deno.test("encodeState() leaves out fields that are undefined", () => {
  assertEquals(decodeState(encodeState({ a: undefined, b: 1 })), { b: 1 });
});

const REFUSED: [string, unknown, string][] = [
  ["a typed array", { a: { b: new Float32Array(2) } }, "state.a.b"],
  ["a map", { a: [1, new Map()] }, "state.a[1]"],
  ["a function", { f: () => 1 }, "function"],
  ["undefined in an array", { a: [undefined] }, "state.a[0]"],
  ["a date", { a: new Date(0) }, "Date"],
  ["a name with a dollar", { a: { $float: "1" } }, "$float"],
];

for (const [what, state, message] of REFUSED) {
  Deno.test(`encodeState() throws when there is ${what}`, () => {
    assertThrows(() => encodeState(state as object), TypeError, message);
  });
}
