import { assertEquals, assertRejects } from "@std/assert";
import { Tokenizer as Official } from "tokenizers";
import { TokenizerError } from "../../lib/tokenizer/errors.ts";
import { type Tokenizer, tokenizerFromJson } from "../../lib/tokenizer/tokenizer.ts";
import { numbered, SMALL_KINDS, smallJson } from "./small_files.ts";
import { randomOf } from "./texts.ts";
import { addedToken, type Json, toBytes } from "./vocabularies.ts";

const encoder = new TextEncoder();

// They begin alike, end alike, hold each other and white space, and some are the model's own.
const CONTENTS = [
  ...["<a>", "a>", "<a", "ab", "aba", "ba", " ", "  ", " a", "a ", "<", "c c", "\n", "b b", "é"],
  ...["▁a", "▁", " c", "a"],
];
const PIECES = [
  ...["a", "b", "c", " ", "  ", "\n", "<", "a>", "<a", "<a>", "<a> ", "ab", "aba", "\u00a0", "▁"],
  ...["é", " a"],
];

/** Files with one to five added tokens, and texts for each. */
function* randomFiles(
  seed: number,
  count: number,
): Generator<{ json: Json; texts: string[]; kind: string }> {
  const random = randomOf(seed);
  const pick = <T>(list: readonly T[]) => list[Math.floor(random() * list.length)]!;
  for (let i = 0; i < count; i++) {
    const contents = new Set(
      Array.from({ length: 1 + Math.floor(random() * 5) }, () => pick(CONTENTS)),
    );
    const added = [...contents].map((content) =>
      addedToken(0, content, {
        ...{ lstrip: random() < 0.3, rstrip: random() < 0.3 },
        ...{ normalized: random() < 0.4, special: random() < 0.3 },
      })
    );
    // The package ends the process where a token of white space strips into what another has stripped.
    if (added.some(({ rstrip }) => rstrip)) {
      for (const token of added) if (token.content.trim() === "") token.lstrip = false;
    }
    const kind = pick(SMALL_KINDS);
    const texts = Array.from(
      { length: 60 },
      () => Array.from({ length: 1 + Math.floor(random() * 9) }, () => pick(PIECES)).join(""),
    );
    yield { json: smallJson(kind, added), texts, kind };
  }
}

function idsOf(tokenizer: Tokenizer, texts: readonly string[], specialsAsText = false): number[][] {
  const documents = texts.map((text) => encoder.encode(text));
  const { ids, ends } = tokenizer.encodeBatch(documents, { specialsAsText });
  return texts.map((_, i) => [...ids.subarray(i === 0 ? 0 : ends[i - 1]!, ends[i]!)]);
}

Deno.test("encode() gives the official package's ids when random added tokens overlap, strip and are normalized", async () => {
  let native = 0;
  for (const { json, texts, kind } of randomFiles(11, 150)) {
    using tokenizer = await tokenizerFromJson(toBytes(json));
    if (tokenizer.engine === "native") native += texts.length;
    const official = Official.fromString(JSON.stringify(json));
    const encodings = await official.encodeBatch(texts, { addSpecialTokens: false });
    const wanted = encodings.map((encoding) => encoding.getIds());
    const decoded = await official.decodeBatch(wanted, false);
    idsOf(tokenizer, texts).forEach((ids, i) => {
      const what = `${JSON.stringify(texts[i])} in ${kind} ${JSON.stringify(json.added_tokens)}`;
      assertEquals([ids, tokenizer.decode(ids)], [wanted[i], decoded[i]], what);
    });
  }
  assertEquals(native > 8000, true, `only ${native} texts were the native engine's`);
});

Deno.test("encodeBatch() gives the same ids on both engines when special tokens are text", async () => {
  for (const { json, texts, kind } of randomFiles(12, 40)) {
    using native = await tokenizerFromJson(toBytes(json));
    using other = await tokenizerFromJson(toBytes(json), { engine: "tokenizers" });
    const wanted = idsOf(other, texts, true);
    idsOf(native, texts, true).forEach((ids, i) => {
      const what = `${JSON.stringify(texts[i])} in ${kind} ${JSON.stringify(json.added_tokens)}`;
      assertEquals(ids, wanted[i], what);
    });
  }
});

Deno.test("encode() finds an added token in white space that the one before it strips", async () => {
  const added = [addedToken(0, "<a>", { rstrip: true }), addedToken(0, " c", { special: false })];
  using tokenizer = await tokenizerFromJson(toBytes(smallJson("byte_level", added)));
  assertEquals([...tokenizer.encode("<a> c")], [259, 260]);
});

for (const engine of ["native", "tokenizers"] as const) {
  Deno.test(`decode() gives added tokens with letters above U+007F back on the ${engine} engine`, async () => {
    // In a byte-level alphabet é is the byte 0xE9, Ã© the two of é. Bytes that UTF-8 has no use for may be missing.
    const added = ["<é>", "õ", "Ã©x", "日本"].map((content) => addedToken(0, content));
    const json = smallJson("byte_level");
    if (engine === "tokenizers") delete json.model.vocab["õ"];
    else added.splice(1, 1);
    json.model.vocab = numbered(Object.keys(json.model.vocab));
    let next = Object.keys(json.model.vocab).length;
    json.added_tokens = added.map((token) => ({ ...token, id: next++ }));
    using tokenizer = await tokenizerFromJson(toBytes(json));
    const text = `a<é> ${engine === "tokenizers" ? "õ" : "é"}日本b Ã©x`;
    const ids = [...tokenizer.encode(text)];
    const used = json.added_tokens.filter(({ id }: Json) => ids.includes(id));
    assertEquals([tokenizer.engine, used], [engine, json.added_tokens]);
    assertEquals(tokenizer.decode(ids), text);
    for (const { id, content } of used) {
      assertEquals(tokenizer.tokenBytes(id), encoder.encode(content));
    }
  });
}

Deno.test("decode() gives an added token back when the model's vocabulary names it, too", async () => {
  const json = smallJson("byte_level");
  json.model.vocab["<é>"] = 259;
  json.added_tokens = [addedToken(259, "<é>"), addedToken(0xe9, "é"), addedToken(257, "Ġa")];
  json.added_tokens[1].id = json.model.vocab["é"];
  using tokenizer = await tokenizerFromJson(toBytes(json));
  // What the model spells bytes by still does.
  assertEquals(tokenizer.decode([259, ...tokenizer.encode("日"), 257]), "<é>日 a");
});

const ABC = { a: 0, b: 1, c: 2 };
const WRONG_IDS: [string, Json, Json[], string][] = [
  [
    "an added token has a taken id",
    ABC,
    [addedToken(1, "<x>")],
    'added_tokens[0] gives 1 to "<x>", and "b" has it; number "<x>" 3, or name it in model.vocab',
  ],
  [
    "two added tokens have one id",
    ABC,
    [addedToken(3, "<x>"), addedToken(3, "<y>")],
    'added_tokens[1] gives 3 to "<y>", and "<x>" has it; number "<y>" 4',
  ],
  [
    "an added token's id leaves a hole",
    ABC,
    [addedToken(3, "<x>"), addedToken(7, "<y>")],
    'added_tokens[1] gives 7 to "<y>" where 4 comes next',
  ],
  [
    "added tokens are out of order",
    ABC,
    [addedToken(4, "<x>"), addedToken(3, "<y>")],
    'added_tokens[0] gives 4 to "<x>" where 3 comes next',
  ],
  [
    "the vocabulary has a hole and its last id is the next one",
    { a: 0, b: 1, c: 3 },
    [addedToken(3, "<x>")],
    'added_tokens[0] gives 3 to "<x>", and "c" has it; name "<x>" in model.vocab',
  ],
  [
    "two tokens of the vocabulary have one id",
    { a: 0, b: 1, c: 1 },
    [],
    'an id must stand for one token: model.vocab gives 1 to "b" and "c"',
  ],
];
for (const [what, vocab, added, message] of WRONG_IDS) {
  Deno.test(`tokenizerFromJson() names tokens and ids when ${what}`, async () => {
    const json = smallJson("byte_level");
    json.model = { ...json.model, vocab, merges: [] };
    json.added_tokens = added;
    await assertRejects(() => tokenizerFromJson(toBytes(json)), TokenizerError, message);
  });
}

Deno.test("encode() names the character when a BPE file has no token for it and no unk_token", async () => {
  const json = smallJson("byte_level");
  json.pre_tokenizer = { type: "Whitespace" };
  json.decoder = null;
  json.model = { ...json.model, vocab: { a: 0, b: 1 }, merges: [] };
  using tokenizer = await tokenizerFromJson(toBytes(json));
  assertEquals([...tokenizer.encode("ab ba")], [0, 1, 1, 0]);
  let message = "";
  try {
    tokenizer.encode("ab abéa");
  } catch (error) {
    message = (error as TokenizerError).message;
  }
  assertEquals(
    message.includes('current value is null, and "é" (U+00E9) has none, in "ab abéa"'),
    true,
    message,
  );
  json.model.unk_token = "b";
  using lenient = await tokenizerFromJson(toBytes(json));
  assertEquals([...lenient.encode("aé")], [0, 1]);
});
