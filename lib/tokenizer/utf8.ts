/**
 * Finding and repairing bytes that are no UTF-8, before they reach a tokenizer.
 *
 * @module
 */

import { isUtf8 } from "node:buffer";

/** The index of the first byte that begins no well-formed sequence, or -1 where the bytes are valid UTF-8. */
export function findInvalidUtf8(bytes: Uint8Array): number {
  if (isUtf8(bytes)) return -1;
  for (let i = 0; i < bytes.length;) {
    const length = sequenceLength(bytes, i);
    if (length <= 0) return i;
    i += length;
  }
  return -1;
}

/**
 * Replaces what is no UTF-8 by U+FFFD, one for each maximal subpart as the WHATWG decoder does, and says how many it wrote.
 * Valid bytes are given back as they are, not copied.
 */
export function repairUtf8(bytes: Uint8Array): { bytes: Uint8Array; replaced: number } {
  if (isUtf8(bytes)) return { bytes, replaced: 0 };
  // A bad subpart of one byte grows by two; nothing grows by more.
  const repaired = new Uint8Array(3 * bytes.length);
  let end = 0;
  let replaced = 0;
  for (let i = 0; i < bytes.length;) {
    const length = sequenceLength(bytes, i);
    if (length > 0) {
      for (let k = 0; k < length; k++) repaired[end++] = bytes[i + k]!;
      i += length;
    } else {
      repaired.set(REPLACEMENT, end);
      end += REPLACEMENT.length;
      replaced++;
      i -= length;
    }
  }
  return { bytes: repaired.slice(0, end), replaced };
}

const REPLACEMENT = new Uint8Array([0xef, 0xbf, 0xbd]);

/** Bytes of the well-formed sequence at `i`, or minus those of the maximal subpart (Unicode 16, 3.9) of a broken one. */
function sequenceLength(bytes: Uint8Array, i: number): number {
  const first = bytes[i]!;
  if (first < 0x80) return 1;
  const more = first >= 0xc2 && first < 0xe0
    ? 1
    : first >= 0xe0 && first < 0xf0
    ? 2
    : first >= 0xf0 && first < 0xf5
    ? 3
    : 0;
  if (more === 0) return -1;
  let low = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  let high = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  for (let k = 1; k <= more; k++) {
    const byte = bytes[i + k];
    if (byte === undefined || byte < low || byte > high) return -k;
    [low, high] = [0x80, 0xbf];
  }
  return more + 1;
}
