/**
 * The alphabet of byte-level vocabularies: one printable character a byte, as GPT-2's encoder.py assigns them.
 *
 * @module
 */

/** The character of each byte. */
export const BYTE_CHARACTERS: readonly string[] = makeAlphabet();

/** The byte of each UTF-16 unit below 512, or -1. */
const BYTES: Int16Array = makeInverse();

function makeAlphabet(): string[] {
  const characters: string[] = [];
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    characters.push(String.fromCharCode(printable ? byte : next++));
  }
  return characters;
}

function makeInverse(): Int16Array {
  const bytes = new Int16Array(512).fill(-1);
  BYTE_CHARACTERS.forEach((character, byte) => bytes[character.charCodeAt(0)] = byte);
  return bytes;
}

/** The bytes that a byte-level token spells, or null where a character of it is of another alphabet. */
export function bytesOfByteLevelToken(token: string): Uint8Array | null {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = BYTES[token.charCodeAt(i)] ?? -1;
    if (byte < 0) return null;
    bytes[i] = byte;
  }
  return bytes;
}
