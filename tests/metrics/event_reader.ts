/**
 * A reader of TensorBoard's event files, written from the descriptions of TFRecord, Protocol Buffers and `event.proto`, and
 * sharing no code with the writer.
 */

import { assertEquals } from "@std/assert";

export interface ReadEvent {
  readonly wallTime: number;
  readonly step: number;
  readonly version: string | null;
  /** `SessionLog.status`; 1 is a start. */
  readonly session: number | null;
  readonly scalars: Readonly<Record<string, number>>;
}

/** Every event of a file; fails on a checksum that is wrong. */
export async function readEvents(path: string): Promise<ReadEvent[]> {
  const bytes = await Deno.readFile(path);
  const view = new DataView(bytes.buffer);
  const events: ReadEvent[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = Number(view.getBigUint64(at, true));
    assertEquals(view.getUint32(at + 8, true), masked(bytes.subarray(at, at + 8)), "of a length");
    const body = bytes.subarray(at + 12, at + 12 + length);
    assertEquals(view.getUint32(at + 12 + length, true), masked(body), "of an event");
    events.push(readEvent(body));
    at += 16 + length;
  }
  return events;
}

function readEvent(body: Uint8Array): ReadEvent {
  const fields = readFields(body);
  const scalars: Record<string, number> = {};
  for (const summary of fields.get(5) ?? []) {
    for (const value of readFields(summary as Uint8Array).get(1) ?? []) {
      const parts = readFields(value as Uint8Array);
      scalars[decode(parts.get(1)![0])] = dataView(parts.get(2)![0]).getFloat32(0, true);
    }
  }
  const session = fields.get(7)?.[0];
  return {
    wallTime: dataView(fields.get(1)![0]).getFloat64(0, true),
    step: Number(fields.get(2)?.[0] ?? 0n),
    version: fields.has(3) ? decode(fields.get(3)![0]) : null,
    session: session === undefined
      ? null
      : Number(readFields(session as Uint8Array).get(1)?.[0] ?? 0n),
    scalars,
  };
}

type Field = bigint | Uint8Array;

function readFields(bytes: Uint8Array): Map<number, Field[]> {
  const fields = new Map<number, Field[]>();
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n;; shift += 7n) {
      const byte = bytes[at++]!;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  const take = (length: number) => bytes.subarray(at, at += length);
  while (at < bytes.length) {
    const key = Number(varint());
    const kind = key & 7;
    const value = kind === 0 ? varint() : take(kind === 1 ? 8 : kind === 5 ? 4 : Number(varint()));
    fields.set(key >> 3, [...fields.get(key >> 3) ?? [], value]);
  }
  assertEquals(at, bytes.length, "a message must end where its last field does");
  return fields;
}

/** CRC-32C bit by bit, as big numbers, and the mask. */
function masked(bytes: Uint8Array): number {
  let crc = 0xffffffffn;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = (crc >> 1n) ^ ((crc & 1n) * 0x82f63b78n);
  }
  crc ^= 0xffffffffn;
  const rotated = (crc >> 15n) | ((crc << 17n) & 0xffffffffn);
  return Number((rotated + 0xa282ead8n) & 0xffffffffn);
}

function dataView(field: Field | undefined): DataView {
  const bytes = field as Uint8Array;
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function decode(field: Field | undefined): string {
  return new TextDecoder().decode(field as Uint8Array);
}
