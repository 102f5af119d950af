import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  BFLOAT16,
  decodeMinifloat,
  encodeMinifloat,
  FLOAT16,
  FLOAT8_E4M3,
} from "../../lib/bench/minifloat.ts";
import { toBfloat16 } from "../support/bfloat16.ts";
import { withRandom } from "../support/random.ts";

Deno.test("encodeMinifloat() gives every finite code of a format back", () => {
  for (const format of [FLOAT16, BFLOAT16, FLOAT8_E4M3]) {
    const bits = format.exponentBits + format.mantissaBits + 1;
    let finite = 0;
    for (let code = 0; code < 2 ** bits; code++) {
      const value = decodeMinifloat(code, format);
      if (Math.abs(value) > format.largest) continue;
      finite++;
      const sign = 2 ** (bits - 1);
      // Zero has two codes.
      const expected = value === 0 ? [0, sign] : [code];
      assert(expected.includes(encodeMinifloat(value, format)), `${code} of ${bits} bits`);
    }
    assert(finite > 2 ** bits * 0.9);
  }
});

Deno.test("encodeMinifloat() knows the codes of e4m3", () => {
  const codes = [[1, 0x38], [-1, 0xb8], [448, 0x7e], [2 ** -9, 1], [2 ** -6, 8], [0, 0]] as const;
  for (const [value, code] of codes) assertEquals(encodeMinifloat(value, FLOAT8_E4M3), code);
  // Half way between two: to the even one. Beyond the largest: the largest.
  assertEquals(encodeMinifloat(17, FLOAT8_E4M3), encodeMinifloat(16, FLOAT8_E4M3));
  assertEquals(encodeMinifloat(19, FLOAT8_E4M3), encodeMinifloat(20, FLOAT8_E4M3));
  assertEquals(encodeMinifloat(1e9, FLOAT8_E4M3), 0x7e);
  assertThrows(() => encodeMinifloat(NaN, FLOAT8_E4M3), RangeError, "NaN");
});

Deno.test(
  "encodeMinifloat() rounds as Float16Array and the upper half of float32 do",
  withRandom((random) => {
    const values = Float32Array.from(
      { length: 5000 },
      () => random.normal() * 2 ** random.integer(-20, 12),
    );
    const half = new Uint16Array(new Float16Array(values).buffer);
    const upper = toBfloat16(values);
    for (const [i, value] of values.entries()) {
      assertEquals(encodeMinifloat(value, FLOAT16), half[i], `half of ${value}`);
      assertEquals(encodeMinifloat(value, BFLOAT16), upper[i], `bfloat16 of ${value}`);
    }
  }),
);

Deno.test(
  "decodeMinifloat() reads what Float16Array reads",
  withRandom((random) => {
    for (let i = 0; i < 1000; i++) {
      const code = random.integer(0, 0x7bff) + 0x8000 * random.integer(0, 1);
      assertEquals(
        decodeMinifloat(code, FLOAT16),
        new Float16Array(Uint16Array.of(code).buffer)[0],
      );
    }
  }),
);
