/**
 * TensorBoard's event files, byte by byte: records in TFRecord's frames, each a protocol buffer `Event`.
 *
 * Field numbers are those of TensorFlow's `event.proto` and `summary.proto`.
 *
 * @module
 */

/** One event: what happened, and at which step. */
export interface TensorBoardEvent {
  /** Seconds since 1970. */
  readonly wallTimeS: number;
  readonly step: number;
  readonly what:
    | { readonly kind: "version" }
    /** The run is about to take `step`: what was recorded at it or later is void. */
    | { readonly kind: "start" }
    | { readonly kind: "scalars"; readonly values: readonly (readonly [tag: string, number])[] };
}

const VERSION = "brain.Event:2";
const SESSION_START = 1;

/** A table of CRC-32C (Castagnoli), by the low byte of the remainder. */
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

/** CRC-32C of bytes. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** As TFRecord stores it: rotated and shifted, so that the checksum of data that holds checksums is sound. */
export function maskedCrc32c(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/** An event in its frame: length, checksum of the length, event, checksum of the event. */
export function encodeEvent(event: TensorBoardEvent): Uint8Array<ArrayBuffer> {
  const body = eventMessage(event);
  const frame = new Uint8Array(body.length + 16);
  const view = new DataView(frame.buffer);
  view.setUint32(0, body.length, true); // the upper half of the 64 bits stays 0
  view.setUint32(8, maskedCrc32c(frame.subarray(0, 8)), true);
  frame.set(body, 12);
  view.setUint32(12 + body.length, maskedCrc32c(frame.subarray(12, 12 + body.length)), true);
  return frame;
}

function eventMessage({ wallTimeS, step, what }: TensorBoardEvent): Uint8Array {
  const event = new Message().double(1, wallTimeS).varint(2, step);
  if (what.kind === "version") event.text(3, VERSION);
  if (what.kind === "start") event.message(7, new Message().varint(1, SESSION_START));
  if (what.kind === "scalars") {
    const summary = new Message();
    for (const [tag, value] of what.values) {
      summary.message(1, new Message().text(1, tag).float(2, value));
    }
    event.message(5, summary);
  }
  return event.bytes;
}

const VARINT = 0;
const FIXED64 = 1;
const LENGTH = 2;
const FIXED32 = 5;
const ENCODER = new TextEncoder();
const SCRATCH = new DataView(new ArrayBuffer(8));

/** Fields of a protocol buffer message, in the order in which they are added. */
class Message {
  readonly #bytes: number[] = [];

  get bytes(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }

  /** A whole number of at least 0, up to 2^53. */
  varint(field: number, value: number): this {
    this.#varint(field * 8 + VARINT);
    this.#varint(value);
    return this;
  }

  double(field: number, value: number): this {
    SCRATCH.setFloat64(0, value, true);
    return this.#fixed(field * 8 + FIXED64, 8);
  }

  float(field: number, value: number): this {
    SCRATCH.setFloat32(0, value, true);
    return this.#fixed(field * 8 + FIXED32, 4);
  }

  text(field: number, value: string): this {
    return this.#delimited(field, ENCODER.encode(value));
  }

  message(field: number, value: Message): this {
    return this.#delimited(field, value.#bytes);
  }

  #fixed(key: number, length: number): this {
    this.#varint(key);
    for (let i = 0; i < length; i++) this.#bytes.push(SCRATCH.getUint8(i));
    return this;
  }

  #delimited(field: number, bytes: ArrayLike<number> & Iterable<number>): this {
    this.#varint(field * 8 + LENGTH);
    this.#varint(bytes.length);
    for (const byte of bytes) this.#bytes.push(byte);
    return this;
  }

  #varint(value: number): void {
    let rest = value;
    while (rest >= 128) {
      this.#bytes.push((rest % 128) + 128);
      rest = Math.floor(rest / 128);
    }
    this.#bytes.push(rest);
  }
}
