/**
 * Texts that hurt: what the splits, the fallbacks and the added tokens have to get right.
 */

/** One text a difficulty. */
export const HARD_TEXTS: readonly string[] = [
  "",
  " ",
  "a",
  "Hello, world! It's 2024; they're here, we've been, I'll go, he'd say, I'm.",
  "DON'T SHOUT'S 'S 'T 'RE 'VE 'M 'LL 'D 's't 'ſ 'x ''s can'tn't it'ſa 'ſſ 'ſ1 'llama 'REx",
  "😀👩‍👩‍👧‍👦🏳️‍🌈👍🏽 e\u0301 n\u0303o\u0308 \u0301\u0302 i\u0307\u0323",
  "世界、こんにちは。안녕하세요 ขอบคุณ नमस्ते שלום مرحبا Ελληνικά Здравствуйте",
  "\u0000\u0001\u0002\u001f\u007f\u0080\u009f\u200b\u200d\u2060\ufeffBOM\ufeff\ufffd\ufffe",
  "a  b   c    d" + " ".repeat(17) + "e" + " ".repeat(64) + "f  ",
  "\t\ttabs\t and\u00a0nbsp\u2003em\u3000ideographic\u2028line\u2029par\u0085nel ",
  "one\ntwo\r\nthree\rfour\n\n\nfive \n \r\n\t\n  six\n   seven\r\n\r\n",
  "   \n\n  \n x\n ",
  "0 12 123 1234 12345 1234567890123 3.14159 1e10 ١٢٣٤٥ ²³½ Ⅷ ⑨ 一二三",
  "ǅungla ʰmod ªº ĲĳK ſs ﬁ İıŞş ÀÉÎõü ñandú Straße",
  "fooBarBAZquxHTTPServer2XML snake_case kebab-case a/b//c\n//d http://x.y/z?q=1&r=2#f",
  "!!! ??? ... --- ___ === ((())) [[]] {{}} <<>> “quotes” ‘single’ «g» …\n\n!!\n",
  "<|endoftext|> a<|endoftext|>b <|endoftext <|fim_prefix|>x<|fim_middle|> <s>hi</s> <unk><s><s> </s>",
  "▁ ▁▁ a▁b ▁a <0x0A> <0xFF> Ġ Ċ Âł",
  "def f(x):\n    if x:\n        return {\n            'a': 1,\n        }\n\treturn None\n",
  "\u{10ffff}\u{e0001}\u{1f1e9}\u{1f1ea}𝕳𝖊𝖑𝖑𝖔 𐍈𒀀𠀀𪜀\u{323af}\u{31350}",
  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
  "=".repeat(200) + "\n" + "-".repeat(133) + "ab".repeat(150) + "の".repeat(90),
  "Pneumonoultramicroscopicsilicovolcanoconiosis antidisestablishmentarianism",
];

const PIECES = [
  ..."abcdefgstmlvrdSTLEVRD 0123456789'\"!?.,:;-_/\\()[]{}<>|=+*&^%$#@~`",
  ..."\n\r\t\v\f\u0000\u0007\u0085\u00a0\u1680\u2002\u2028\u202f\u3000\ufeff\u200b\u200d",
  ..."éßñøÅΣςдЖ世界のアン한글กำשم\u0301\u0308\u0e31\u093f😀🏽ªºʰǅſK²½Ⅷ٣一▁Ġ",
  " ",
  "  ",
  "    ",
  "\n\n",
  "\r\n",
  "'s",
  "'LL",
  "'re",
  " the",
  " and",
  "ing",
  "tion",
  "<|endoftext|>",
  "</s>",
  "<0x41>",
  "\u{10ffff}",
  "𠀀",
];

/** A random number generator: mulberry32, in [0, 1). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Random strings of pieces that tokenizers tell apart, some of them repeated. */
export function fuzzTexts(seed: number, count: number): string[] {
  const random = randomOf(seed);
  return Array.from({ length: count }, () => {
    let text = "";
    const pieces = 1 + Math.floor(40 * random());
    for (let i = 0; i < pieces; i++) {
      const piece = PIECES[Math.floor(PIECES.length * random())]!;
      text += random() < 0.1 ? piece.repeat(1 + Math.floor(6 * random())) : piece;
    }
    return text;
  });
}
