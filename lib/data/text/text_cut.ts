/**
 * Where a long text can be cut so that its parts encode to the same ids as the whole.
 *
 * @module
 */
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";

/** How a tokenizer wants long texts cut. */
export interface TextCut {
  /** Whether the newline at a cut ends the part before it or begins the part after it. */
  readonly newline: "ends" | "begins";
  /** Leading ids of every part but the first that the whole text would not have. */
  readonly extraIds: number;
  /** Whether cuts at single newlines between words were seen to leave the ids as they are. */
  readonly exact: boolean;
}

const NEWLINE = 10;
const SPACE = 32;

const PROBES: readonly (readonly [string, string])[] = [
  ["some words", "and more"],
  ["It ends here.", "Next: 12 (twelve)"],
  ["x = 34", "67 y"],
  ["naïve 世", "界 Ünter"],
  ['said "no"', "'s own"],
];

/**
 * Finds by trial how a tokenizer's ids survive a cut at a newline between two words: byte-level vocabularies take it
 * as it is, SentencePiece-style ones put a space before every part, whose id must then go.
 */
export function findTextCut(tokenizer: Tokenizer): TextCut {
  const ways: readonly Omit<TextCut, "exact">[] = [
    { newline: "ends", extraIds: 0 },
    { newline: "begins", extraIds: 0 },
    { newline: "begins", extraIds: 1 },
  ];
  for (const way of ways) {
    if (PROBES.every(([left, right]) => survives(tokenizer, { left, right, way }))) {
      return { ...way, exact: true };
    }
  }
  return { newline: "ends", extraIds: 0, exact: false };
}

function survives(
  tokenizer: Tokenizer,
  probe: { left: string; right: string; way: Omit<TextCut, "exact"> },
): boolean {
  const { left, right, way } = probe;
  const whole = tokenizer.encode(`${left}\n${right}`);
  const head = tokenizer.encode(way.newline === "ends" ? `${left}\n` : left);
  const tail = tokenizer.encode(way.newline === "ends" ? right : `\n${right}`)
    .subarray(way.extraIds);
  return whole.length === head.length + tail.length &&
    whole.every((id, i) => id === (i < head.length ? head[i] : tail[i - head.length]));
}

/**
 * The length of the part to cut off the front of a text: up to the last single newline between two words, else the
 * last newline, else the last space, else the last whole character. At least one byte, and at most all but the last 4.
 */
export function cutText(bytes: Uint8Array, cut: TextCut): number {
  const limit = bytes.length - 4;
  const shift = cut.newline === "ends" ? 1 : 0;
  let fallback = 0;
  let at = bytes.lastIndexOf(NEWLINE, limit - 1);
  // A cut near the front would make short parts: what no newline of the last half allows is cut elsewhere.
  for (; at > limit / 2; at = bytes.lastIndexOf(NEWLINE, at - 1)) {
    if (fallback === 0) fallback = at + shift;
    if (!isSpace(bytes[at - 1]!) && !isSpace(bytes[at + 1]!)) return at + shift;
  }
  if (fallback > 0) return fallback;
  const space = bytes.lastIndexOf(SPACE, limit - 1);
  if (space > limit / 2) return space;
  let end = limit;
  while (end > limit - 4 && (bytes[end]! & 0xc0) === 0x80) end--;
  return end;
}

/** Whether a byte is ASCII white space; the first byte of other white space counts as a letter. */
function isSpace(byte: number): boolean {
  return byte === SPACE || (byte >= 9 && byte <= 13);
}
