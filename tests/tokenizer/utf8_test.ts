import { assertEquals, assertStrictEquals } from "@std/assert";
import { findInvalidUtf8, repairUtf8 } from "../../lib/tokenizer/utf8.ts";
import { HARD_TEXTS, randomOf } from "./texts.ts";

const encoder = new TextEncoder();

/** Random bytes, most of them pieces of sequences. */
function* brokenBytes(count: number): Generator<Uint8Array> {
  const random = randomOf(99);
  const bytes = [
    0x41,
    0x7f,
    0x80,
    0xbf,
    0xc0,
    0xc2,
    0xdf,
    0xe0,
    0xa0,
    0xed,
    0x9f,
    0xef,
    0xf0,
    0x90,
    0xf4,
    0x8f,
    0xf5,
    0xff,
  ];
  for (let i = 0; i < count; i++) {
    yield Uint8Array.from(
      { length: 1 + Math.floor(12 * random()) },
      () => bytes[Math.floor(bytes.length * random())]!,
    );
  }
}

Deno.test("findInvalidUtf8() gives -1 when the bytes are UTF-8", () => {
  for (const text of HARD_TEXTS) assertEquals(findInvalidUtf8(encoder.encode(text)), -1);
});

Deno.test("findInvalidUtf8() gives the first byte that a strict decoder refuses", () => {
  const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const valid = (bytes: Uint8Array) => {
    try {
      strict.decode(bytes);
      return true;
    } catch {
      return false;
    }
  };
  for (const bytes of brokenBytes(3000)) {
    // The longest valid prefix ends where the first bad sequence begins.
    let longest = bytes.length;
    while (!valid(bytes.subarray(0, longest))) longest--;
    assertEquals(findInvalidUtf8(bytes), longest === bytes.length ? -1 : longest, String(bytes));
  }
});

Deno.test("repairUtf8() gives what a lenient decoder makes of the bytes, and counts", () => {
  const lenient = new TextDecoder("utf-8", { ignoreBOM: true });
  for (const bytes of brokenBytes(3000)) {
    const text = lenient.decode(bytes);
    const repaired = repairUtf8(bytes);
    assertEquals(repaired.bytes, encoder.encode(text), String(bytes));
    assertEquals(repaired.replaced, text.split("\ufffd").length - 1);
  }
});

Deno.test("repairUtf8() gives the very same bytes back when they are valid", () => {
  const bytes = encoder.encode("née 世界");
  assertStrictEquals(repairUtf8(bytes).bytes, bytes);
});
