import { assertAlmostEquals, assertEquals } from "@std/assert";
import { bitsPerByte, perplexity } from "../../lib/evaluation/bits_per_byte.ts";

Deno.test("bitsPerByte() is 8 when each byte is one of 256 equally likely ones", () => {
  assertAlmostEquals(bitsPerByte({ nats: 1000 * Math.log(256), bytes: 1000 }), 8, 1e-12);
});

Deno.test("bitsPerByte() shares a token's cost among its bytes when it has several", () => {
  assertAlmostEquals(bitsPerByte({ nats: 3 * Math.LN2, bytes: 12 }), 0.25, 1e-15);
});

Deno.test("bitsPerByte() is NaN when no text was scored", () => {
  assertEquals(bitsPerByte({ nats: 0, bytes: 0 }), NaN);
});

Deno.test("perplexity() is the number of choices when all are equally likely", () => {
  assertAlmostEquals(perplexity(Math.log(32000)), 32000, 1e-6);
});
