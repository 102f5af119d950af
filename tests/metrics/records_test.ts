import { assertEquals } from "@std/assert";
import { decodeRecord, encodeRecord } from "../../lib/metrics/records.ts";
import { CHECKPOINT, MACHINE, ROLLBACK, RUN, STEP, VALIDATION } from "./support.ts";

for (const record of [RUN, STEP, VALIDATION, CHECKPOINT, ROLLBACK, MACHINE]) {
  Deno.test(`decodeRecord() reads a ${record.type} record as it was encoded`, () => {
    assertEquals(decodeRecord(encodeRecord(record)), record);
  });
}

Deno.test("decodeRecord() gives null for a type that is no text", () => {
  assertEquals(decodeRecord('{"type":{"toString":1},"step":1}'), null);
  assertEquals(decodeRecord('{"type":["step"],"step":1}'), null);
});
