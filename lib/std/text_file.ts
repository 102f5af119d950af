/**
 * Text files that people write: in UTF-8, with or without a byte order mark in front.
 *
 * @module
 */

/** Thrown where a file is not in UTF-8. */
export class EncodingError extends Error {
  override readonly name = "EncodingError";

  constructor(
    file: string,
    /** What it is instead, as a message shows it. */
    readonly found: string,
  ) {
    super(
      `Cannot read ${file} as it must be text in UTF-8: current value is ${found}; ${SAVE_AS_UTF8}`,
    );
  }
}

/** The remedy of an {@linkcode EncodingError}. */
export const SAVE_AS_UTF8 = "save it as UTF-8";

/** Reads a text file; a byte order mark in front is dropped. Throws {@linkcode EncodingError}, and what the system says. */
export async function readText(path: string): Promise<string> {
  return decodeText(await Deno.readFile(path), path);
}

/** As {@linkcode readText}, at once. */
export function readTextSync(path: string): string {
  return decodeText(Deno.readFileSync(path), path);
}

/** Text of a file's bytes, as {@linkcode readText} reads it; `file` is for the message. */
export function decodeText(bytes: Uint8Array, file: string): string {
  if (hasUtf16Mark(bytes)) throw new EncodingError(file, "text in UTF-16, not UTF-8");
  try {
    return decoder.decode(bytes);
  } catch {
    throw new EncodingError(file, "bytes that are not UTF-8");
  }
}

/** The bytes of a text without UTF-8's byte order mark in front. */
export function withoutMark<Buffer extends ArrayBufferLike>(
  bytes: Uint8Array<Buffer>,
): Uint8Array<Buffer> {
  const marked = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
  return marked ? bytes.subarray(3) : bytes;
}

/** Whether bytes begin with the byte order mark of UTF-16, little-endian or big-endian. */
export function hasUtf16Mark(bytes: Uint8Array): boolean {
  return (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff);
}

const decoder = new TextDecoder("utf-8", { fatal: true });
