import { assertEquals } from "@std/assert";
import { assertSameAsOfficial, bothOf } from "./oracle.ts";
import { fuzzTexts, HARD_TEXTS } from "./texts.ts";
import {
  addedToken,
  cl100kJson,
  gpt2Json,
  type Json,
  llamaJson,
  splitStage,
} from "./vocabularies.ts";

const vocabularies: Record<string, () => Json> = {
  "GPT-2's vocabulary": gpt2Json,
  "cl100k with Llama 3's split": cl100kJson,
  "GPT-2's vocabulary with Qwen 2's split": () => splitJson("cl100k_one_digit"),
  "GPT-2's vocabulary with o200k's split": () => splitJson("o200k"),
  "LLaMA's vocabulary": llamaJson,
};

for (const [name, make] of Object.entries(vocabularies)) {
  Deno.test(`encode() gives the official package's ids when hard texts meet ${name}`, async () => {
    await assertSameAsOfficial(make, HARD_TEXTS);
  });

  Deno.test(`encode() gives the official package's ids when random texts meet ${name}`, async () => {
    await assertSameAsOfficial(make, fuzzTexts(name.length, 3000));
  });
}

/** GPT-2's vocabulary behind the pre-tokenizer of another one. */
function splitJson(split: string): Json {
  return { ...gpt2Json(), pre_tokenizer: splitStage(split) };
}

/** LLaMA's vocabulary with its spaces made by Metaspace, as newer files do. */
function metaspaceJson(scheme: string, split: boolean): Json {
  const json = llamaJson();
  json.normalizer = null;
  json.pre_tokenizer = { type: "Metaspace", replacement: "▁", prepend_scheme: scheme, split };
  return json;
}

for (const scheme of ["always", "first", "never"]) {
  for (const split of [true, false]) {
    Deno.test(`encode() gives the official package's ids when Metaspace prepends ${scheme}, split ${split}`, async () => {
      const json = metaspaceJson(scheme, split);
      await assertSameAsOfficial(() => json, [...HARD_TEXTS, ...fuzzTexts(7, 500)]);
    });
  }
}

Deno.test("encode() gives the official package's ids when the normalizer only replaces spaces", async () => {
  const json = llamaJson();
  json.normalizer = json.normalizer.normalizers[1];
  json.pre_tokenizer = {
    type: "Split",
    pattern: { String: " " },
    behavior: "MergedWithPrevious",
    invert: false,
  };
  json.decoder.decoders.pop();
  await assertSameAsOfficial(() => json, [...HARD_TEXTS, ...fuzzTexts(8, 500)]);
});

Deno.test("encode() gives the official package's ids when added tokens strip, overlap and are normalized", async () => {
  const texts = [...HARD_TEXTS, ...fuzzTexts(9, 500), "x <mask> y\n<mask>\u00a0 z<mask><mask>  "];
  const extra = (first: number) => [
    addedToken(first, "<mask>", { lstrip: true, rstrip: true, normalized: true }),
    addedToken(first + 1, " the", { special: false, normalized: true }),
    addedToken(first + 2, " the and", { special: false, normalized: true }),
    addedToken(first + 3, "!", { special: false }),
    addedToken(first + 4, "tion", { special: false, lstrip: true }),
  ];
  for (const [make, first] of [[gpt2Json, 50257], [llamaJson, 32000]] as const) {
    const json = make();
    json.added_tokens.push(...extra(first));
    await assertSameAsOfficial(() => json, texts);
  }
});

Deno.test("encode() takes the long s for an s when contractions may have any case", async () => {
  const json = splitJson("cl100k");
  // Merged before anything else, so that the ids tell whether a word ends between the long s and the a.
  json.model = {
    ...json.model,
    vocab: { ...json.model.vocab, "<|endoftext|>": 50256, "¿a": 50257 },
  };
  json.model.merges = [["¿", "a"], ...json.model.merges];
  await assertSameAsOfficial(() => json, ["it'ſa", "itſa", "'ſa 'ſſa ''ſa\n'ſa"]);
});

Deno.test("encode() gives the official package's ids when a byte-level file prepends a space", async () => {
  const json = gpt2Json();
  json.pre_tokenizer.add_prefix_space = true;
  await assertSameAsOfficial(() => json, [...HARD_TEXTS, ...fuzzTexts(10, 300)]);
});

Deno.test("encode() gives the official package's ids when a byte-level file splits nothing", async () => {
  const json = gpt2Json();
  json.pre_tokenizer.use_regex = false;
  await assertSameAsOfficial(() => json, [...HARD_TEXTS, ...fuzzTexts(11, 300)]);
});

Deno.test("encode() gives the official package's ids when many thousand equal characters follow each other", async () => {
  for (const make of [gpt2Json, llamaJson]) {
    const { ours, official } = await bothOf(make);
    for (const text of [" ".repeat(200_001), "a".repeat(100_003), "\n".repeat(50_000) + "x"]) {
      const wanted = await official.encode(text, null, { addSpecialTokens: false });
      assertEquals([...ours.encode(text)], wanted.getIds());
    }
  }
});

Deno.test("encode() takes time in proportion to the text when one letter repeats", async () => {
  for (const make of [gpt2Json, llamaJson]) {
    const { ours } = await bothOf(make);
    /** The least of three: whatever else the machine does only adds to it. */
    const leastMs = (count: number) => {
      const text = new TextEncoder().encode("a".repeat(count));
      return Math.min(...Array.from({ length: 3 }, () => {
        const start = performance.now();
        ours.encode(text);
        return performance.now() - start;
      }));
    };
    // Sixteen times the text would take 256 times as long were it quadratic.
    const ratio = leastMs(1 << 21) / leastMs(1 << 17);
    assertEquals(ratio < 80, true, `16 times the text took ${ratio} times as long`);
  }
});
