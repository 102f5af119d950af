/**
 * Reads tar archives (POSIX ustar with pax headers), such as npm's packages.
 *
 * @module
 */

/** A regular file of an archive. */
export interface TarEntry {
  readonly name: string;
  readonly bytes: Uint8Array;
}

const BLOCK = 512;

/**
 * Yields the regular files of an archive in memory, in order; folders, links and other entries are passed over.
 *
 * @throws {Error} Where a header is damaged or the archive is cut short.
 */
export function* readTar(archive: Uint8Array): Generator<TarEntry> {
  let longName: string | null = null;
  let at = 0;
  while (at + BLOCK <= archive.length) {
    const header = archive.subarray(at, at + BLOCK);
    if (header.every((byte) => byte === 0)) return;
    checkSum(header);
    const size = octal(header, 124, 12);
    const type = String.fromCharCode(header[156]!);
    const start = at + BLOCK;
    if (start + size > archive.length) {
      throw new Error("Cannot read the archive as it is cut short");
    }
    const bytes = archive.subarray(start, start + size);
    at = start + Math.ceil(size / BLOCK) * BLOCK;
    if (type === "x") {
      longName = paxPath(bytes) ?? longName;
      continue;
    }
    if (type === "L") {
      longName = text(bytes);
      continue;
    }
    if (type === "0" || type === "\0") {
      const prefix = text(header.subarray(345, 500));
      const name = text(header.subarray(0, 100));
      yield { name: longName ?? (prefix === "" ? name : `${prefix}/${name}`), bytes };
    }
    longName = null;
  }
  throw new Error("Cannot read the archive as it is cut short");
}

function checkSum(header: Uint8Array): void {
  // The sum takes its own field as spaces.
  let sum = 8 * 32;
  for (let i = 0; i < BLOCK; i++) if (i < 148 || i >= 156) sum += header[i]!;
  if (sum !== octal(header, 148, 8)) {
    throw new Error("Cannot read the archive as one of its headers is damaged");
  }
}

function octal(header: Uint8Array, start: number, length: number): number {
  const digits = text(header.subarray(start, start + length)).trim();
  return digits === "" ? 0 : parseInt(digits, 8);
}

/** The characters before the first NUL. */
function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** The path of a pax header: records of `<length> <key>=<value>\n`, the length counting the whole record. */
function paxPath(bytes: Uint8Array): string | null {
  for (let at = 0; at < bytes.length;) {
    const space = bytes.indexOf(32, at);
    const length = Number(new TextDecoder().decode(bytes.subarray(at, space)));
    if (space < 0 || !(length > 0)) return null;
    const record = new TextDecoder().decode(bytes.subarray(space + 1, at + length - 1));
    if (record.startsWith("path=")) return record.slice("path=".length);
    at += length;
  }
  return null;
}
