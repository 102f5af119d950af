import { assert, assertEquals, assertThrows } from "@std/assert";
import { TokenizerError } from "../../lib/tokenizer/errors.ts";
import { type Tokenizer, tokenizerFromJson } from "../../lib/tokenizer/tokenizer.ts";
import { TokenizerTrainer, type TokenizerTrainerOptions } from "../../lib/tokenizer/train.ts";
import { assertSameAsOfficial } from "./oracle.ts";
import { fuzzTexts, HARD_TEXTS, randomOf } from "./texts.ts";
import type { Json } from "./vocabularies.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Lines of made-up words whose frequencies fall like natural ones. */
function corpus(lines: number, seed = 1): string[] {
  const random = randomOf(seed);
  const word = () => {
    const id = Math.floor(400 * random() ** 3);
    return `${["re", "un", "the", "wa", "éto", "世"][id % 6]}${["st", "ing", "er", "a"][id % 4]}${
      (id * 7919).toString(36)
    }`;
  };
  return Array.from({ length: lines }, () => {
    const words = Array.from({ length: 12 }, word).join(" ");
    return `${words}, it's ${Math.floor(1000 * random())}.\n`;
  });
}

function train(texts: readonly string[], options: TokenizerTrainerOptions): Uint8Array {
  using trainer = new TokenizerTrainer(options);
  for (const text of texts) trainer.add(encoder.encode(text));
  return trainer.train();
}

function jsonOf(bytes: Uint8Array): Json {
  return JSON.parse(decoder.decode(bytes));
}

/** The merges of a byte-level vocabulary by counting every pair anew for each merge. */
function plainMerges(texts: readonly string[], vocabSize: number): [string, string][] {
  const pattern = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;
  const counts = new Map<string, number>();
  for (const text of texts) {
    for (const [word] of text.matchAll(pattern)) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  const words = [...counts].map(([word, count]) => ({
    symbols: [...encoder.encode(word)].map((byte) => 1 + byte),
    count,
  }));
  const merges: [number, number][] = [];
  for (let next = 257; next < vocabSize; next++) {
    const pairs = new Map<number, number>();
    for (const { symbols, count } of words) {
      for (let i = 0; i + 1 < symbols.length; i++) {
        const key = symbols[i]! * 65536 + symbols[i + 1]!;
        pairs.set(key, (pairs.get(key) ?? 0) + count);
      }
    }
    let best = -1, bestCount = 1;
    for (const [key, count] of pairs) {
      if (count > bestCount || (count === bestCount && key < best)) {
        [best, bestCount] = [key, count];
      }
    }
    if (best < 0) break;
    const left = Math.floor(best / 65536), right = best % 65536;
    merges.push([left, right]);
    for (const { symbols } of words) {
      for (let i = 0; i + 1 < symbols.length; i++) {
        if (symbols[i] === left && symbols[i + 1] === right) symbols.splice(i, 2, next);
      }
    }
  }
  return merges as unknown as [string, string][];
}

Deno.test("train() takes the merges that counting every pair anew takes", () => {
  const texts = [...corpus(60), "aaaaaaa aaaa aaa aaaaa baab abab ababab bb bbbb\n"];
  const json = jsonOf(train(texts, { vocabSize: 400 }));
  const vocab = json.model.vocab as Record<string, number>;
  const merges = (json.model.merges as [string, string][]).map((pair) => pair.map((t) => vocab[t]));
  assertEquals(merges, plainMerges(texts, 400) as unknown as number[][]);
});

for (const kind of ["byte_level", "sentencepiece"] as const) {
  Deno.test(`train() writes a ${kind} file that the official package reads to the same ids`, async () => {
    const texts = corpus(400);
    const json = jsonOf(train(texts, { vocabSize: 900, kind }));
    await assertSameAsOfficial(() => json, [
      ...HARD_TEXTS,
      ...fuzzTexts(3, 500),
      ...texts.slice(0, 50),
    ]);
  });

  Deno.test(`train() makes a ${kind} vocabulary of exactly the size that was asked for`, async () => {
    using tokenizer = await tokenizerFromJson(train(corpus(400), { vocabSize: 700, kind }));
    assertEquals([tokenizer.engine, tokenizer.vocabSize], ["native", 700]);
  });

  Deno.test(`train() gives the same ${kind} file when one thread counts and when four do`, () => {
    // Beyond 256 KiB a text is shared between the threads.
    const text = corpus(6000).join("");
    const make = (threads: number) => train([text], { vocabSize: 600, kind, threads });
    assertEquals(decoder.decode(make(1)), decoder.decode(make(4)));
  });

  Deno.test(`a ${kind} vocabulary decodes to any text that it encoded`, async () => {
    // As with Llama 2's file, text behind a special token gets a space of its own.
    const noSpecials = (text: string) => !text.includes("<|endoftext|>");
    using tokenizer = await tokenizerFromJson(train(corpus(50), { vocabSize: 400, kind }));
    for (const text of [...HARD_TEXTS, ...fuzzTexts(4, 300)].filter(noSpecials)) {
      assertEquals(
        tokenizer.decode(tokenizer.encode(text)),
        text.replaceAll("▁", spaceOf(tokenizer)),
      );
    }
  });
}

/** SentencePiece cannot tell U+2581 from the space that it stands for. */
function spaceOf(tokenizer: Tokenizer): string {
  return tokenizer.idOf("▁") === null ? "▁" : " ";
}

Deno.test("train() gives the special tokens the first ids and ends documents with <|endoftext|>", async () => {
  const specialTokens = ["<|endoftext|>", "<|pad|>"];
  using tokenizer = await tokenizerFromJson(train(corpus(20), { vocabSize: 300, specialTokens }));
  assertEquals([tokenizer.idOf("<|endoftext|>"), tokenizer.idOf("<|pad|>"), tokenizer.eosId], [
    0,
    1,
    0,
  ]);
});

Deno.test("train() stops early when no pair is frequent enough", async () => {
  using tokenizer = await tokenizerFromJson(
    train(["abc abd"], { vocabSize: 4096, minFrequency: 2 }),
  );
  // One special token, 256 bytes, "ab"; " ab" occurs once.
  assertEquals(tokenizer.vocabSize, 258);
});

Deno.test("train() reports the tokens of the vocabulary so far and ends at its size", () => {
  using trainer = new TokenizerTrainer({ vocabSize: 800 });
  for (const line of corpus(300)) trainer.add(encoder.encode(line));
  const seen: [number, number][] = [];
  trainer.train((tokens, total) => seen.push([tokens, total]));
  assert(seen.length > 3);
  assertEquals(seen.at(-1), [800, 800]);
});

Deno.test("train() keeps the frequent words when the table of words outgrows its limit", () => {
  using trainer = new TokenizerTrainer({ vocabSize: 258, memoryLimit: 2 ** 20 });
  const random = randomOf(5);
  for (let i = 0; i < 40; i++) {
    const rare = Array.from({ length: 2000 }, () => Math.floor(1e9 * random()).toString(26));
    trainer.add(encoder.encode(`${rare.join(" ")}${" zz".repeat(5000)}`));
  }
  assertEquals(jsonOf(trainer.train()).model.merges, [["Ġ", "z"]]);
});

Deno.test("train() refuses to begin when there is no text", () => {
  using trainer = new TokenizerTrainer({ vocabSize: 300 });
  assertThrows(() => trainer.train(), TokenizerError, "current value is 0 bytes");
});

Deno.test("add() refuses text when the vocabulary is trained", () => {
  using trainer = new TokenizerTrainer({ vocabSize: 300 });
  trainer.add(encoder.encode("some text"));
  trainer.train();
  assertThrows(() => trainer.add(encoder.encode("more")), TypeError, "is trained");
});

Deno.test("TokenizerTrainer names the option and its range when a value is impossible", () => {
  assertThrows(
    () => new TokenizerTrainer({ vocabSize: 200 }),
    RangeError,
    "vocabSize must be an integer from 257 to",
  );
  assertThrows(
    () => new TokenizerTrainer({ vocabSize: 300, specialTokens: ["a", "a"] }),
    RangeError,
    "specialTokens must be different",
  );
});
