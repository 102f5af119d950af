import { assertEquals } from "@std/assert";
import { crc32c, encodeEvent, maskedCrc32c } from "../../lib/metrics/event_file.ts";

const text = (value: string) => new TextEncoder().encode(value);
const hex = (bytes: Uint8Array) => bytes.toHex();

Deno.test("crc32c() gives the check value of CRC-32C and the vectors of RFC 3720", () => {
  assertEquals(crc32c(text("123456789")), 0xe3069283);
  assertEquals(crc32c(new Uint8Array(32)), 0x8a9136aa);
  assertEquals(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  assertEquals(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e);
  assertEquals(crc32c(Uint8Array.from({ length: 32 }, (_, i) => 31 - i)), 0x113fdb5c);
});

Deno.test("maskedCrc32c() rotates by 15 bits and adds TFRecord's constant", () => {
  // (0xe3069283 >>> 15 | 0xe3069283 << 17) = 0x2507c60d, + 0xa282ead8.
  assertEquals(maskedCrc32c(text("123456789")), 0xc78ab0e5);
});

Deno.test("encodeEvent() writes the first event of a file as TensorFlow does", () => {
  // Event { wall_time: 1.5, step: 0, file_version: "brain.Event:2" }, protobuf by hand.
  const event = "09000000000000f83f" + "1000" + "1a0d" + hex(text("brain.Event:2"));
  const bytes = encodeEvent({ wallTimeS: 1.5, step: 0, what: { kind: "version" } });
  assertEquals(hex(bytes.subarray(0, 8)), "1a00000000000000");
  assertEquals(hex(bytes.subarray(12, -4)), event);
});

Deno.test("encodeEvent() writes steps beyond 32 bits", () => {
  const bytes = encodeEvent({ wallTimeS: 0, step: 2 ** 40, what: { kind: "start" } });
  // Varint of 2^40: five groups of zeros, then bit 5 of the sixth.
  assertEquals(hex(bytes.subarray(12 + 9, 12 + 16)), "10" + "808080808020");
});
