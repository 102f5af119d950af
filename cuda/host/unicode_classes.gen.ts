/**
 * Writes `unicode_classes.cpp`, the character classes that the tokenizer's splitters know, from this Deno's own
 * Unicode tables: `deno run --allow-write=cuda/host cuda/host/unicode_classes.gen.ts`.
 *
 * The classes follow Oniguruma's reading of tokenizer.json's patterns: `\s` is the property White_Space.
 */
const LETTER = 1, NUMBER = 2, SPACE = 4, UPPER = 8, LOWER = 16;

function classOf(codePoint: number): number {
  const c = String.fromCodePoint(codePoint);
  if (/[\p{Lu}\p{Lt}]/u.test(c)) return LETTER | UPPER;
  if (/\p{Ll}/u.test(c)) return LETTER | LOWER;
  if (/[\p{Lm}\p{Lo}]/u.test(c)) return LETTER | UPPER | LOWER;
  if (/\p{M}/u.test(c)) return UPPER | LOWER;
  if (/\p{N}/u.test(c)) return NUMBER;
  return /\p{White_Space}/u.test(c) ? SPACE : 0;
}

const ranges: [first: number, last: number, bits: number][] = [];
for (let codePoint = 0; codePoint < 0x110000; codePoint++) {
  const bits = codePoint >= 0xd800 && codePoint < 0xe000 ? 0 : classOf(codePoint);
  const last = ranges.at(-1);
  if (bits === 0) continue;
  if (last !== undefined && last[1] === codePoint - 1 && last[2] === bits) last[1] = codePoint;
  else ranges.push([codePoint, codePoint, bits]);
}

const lines: string[] = [];
let line = "   ";
for (const [first, last, bits] of ranges) {
  const item = ` {0x${first.toString(16)}, ${last - first + 1}, ${bits}},`;
  if (line.length + item.length > 158) {
    lines.push(line);
    line = "   ";
  }
  line += item;
}
lines.push(line);

await Deno.writeTextFile(
  new URL("unicode_classes.cpp", import.meta.url),
  `// Character classes of the tokenizer's splitters. Written by unicode_classes.gen.ts from the Unicode tables of
// V8 ${Deno.version.v8}; do not edit.
#include "unicode_classes.h"

namespace titanbit {

const UnicodeRange kUnicodeRanges[] = {
${lines.join("\n")}
};
const int kUnicodeRangeCount = ${ranges.length};

}  // namespace titanbit
`,
);
