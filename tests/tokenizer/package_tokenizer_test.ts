import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { TokenizerError } from "../../lib/tokenizer/errors.ts";
import { loadTokenizer, tokenizerFromJson } from "../../lib/tokenizer/tokenizer.ts";
import { Tokenizer as Official } from "tokenizers";
import { HARD_TEXTS } from "./texts.ts";
import { addedToken, gpt2Json, type Json, toBytes } from "./vocabularies.ts";

const encoder = new TextEncoder();

/** A WordPiece vocabulary, which the native engine does not speak. */
function wordPieceJson(): Json {
  const tokens = ["[UNK]", "[CLS]", "[SEP]", "un", "##want", "##ed", "runn", "##ing", "the", ","];
  return {
    version: "1.0",
    truncation: { max_length: 2, strategy: "LongestFirst", stride: 0, direction: "Right" },
    padding: null,
    added_tokens: [],
    normalizer: { type: "Lowercase" },
    pre_tokenizer: { type: "BertPreTokenizer" },
    post_processor: null,
    decoder: { type: "WordPiece", prefix: "##", cleanup: false },
    model: {
      type: "WordPiece",
      unk_token: "[UNK]",
      continuing_subword_prefix: "##",
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    },
  };
}

Deno.test("loadTokenizer() runs a WordPiece file on the package and says why", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/tokenizer.json`;
    await Deno.writeFile(path, toBytes(wordPieceJson()));
    using tokenizer = await loadTokenizer(path);
    assertEquals(tokenizer.engine, "tokenizers");
    assertEquals(tokenizer.engineReason, "model.type is WordPiece");
    // The file's truncation to two ids is not applied: a corpus must not lose text.
    assertEquals([...tokenizer.encode("UNwanted, the running")], [3, 4, 5, 9, 8, 6, 7]);
    assertEquals(tokenizer.decode([3, 4, 5, 9, 8, 6, 7]), "unwanted , the running");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("encodeBatch() of the package's engine ends each document and finds where it ends", async () => {
  using tokenizer = await tokenizerFromJson(toBytes(wordPieceJson()));
  const documents = ["the running", "", "unwanted"].map((text) => encoder.encode(text));
  const { ids, ends } = tokenizer.encodeBatch(documents, { endId: 2 });
  assertEquals([...ids], [8, 6, 7, 2, 2, 3, 4, 5, 2]);
  assertEquals([...ends], [4, 5, 9]);
});

Deno.test("encodeBatch() of the package's engine carries answers of several pages", async () => {
  using tokenizer = await tokenizerFromJson(toBytes(wordPieceJson()));
  const count = 300_000; // 1.2 MB of ids
  const { ids } = tokenizer.encodeBatch([encoder.encode("the ".repeat(count))]);
  assertEquals([ids.length, ids.every((id) => id === 8)], [count, true]);
});

Deno.test("the package's engine gives the native engine's ids when both run GPT-2's file", async () => {
  const bytes = toBytes(gpt2Json());
  using native = await tokenizerFromJson(bytes);
  using other = await tokenizerFromJson(bytes, { engine: "tokenizers" });
  assertEquals([native.engine, other.engine], ["native", "tokenizers"]);
  const documents = HARD_TEXTS.map((text) => encoder.encode(text));
  assertEquals(
    other.encodeBatch(documents, { endId: 50256 }),
    native.encodeBatch(documents, { endId: 50256 }),
  );
  assertEquals(other.tokenBytes(262), native.tokenBytes(262));
});

Deno.test("the package's engine reads special tokens as text when asked to", async () => {
  const json = gpt2Json();
  json.added_tokens.push(addedToken(50257, "<extra>", { special: false }));
  const bytes = toBytes(json);
  using native = await tokenizerFromJson(bytes);
  using other = await tokenizerFromJson(bytes, { engine: "tokenizers" });
  const documents = ["a<|endoftext|>b <extra>", "<|endoftext|>"].map((text) =>
    encoder.encode(text)
  );
  const options = { specialsAsText: true };
  const { ids } = other.encodeBatch(documents, options);
  assertEquals(ids, native.encodeBatch(documents, options).ids);
  assertEquals([ids.includes(50256), ids.includes(50257)], [false, true]);
});

Deno.test("tokenizerFromJson() uses the package when a Unicode normalizer precedes the split", async () => {
  const json = gpt2Json();
  json.normalizer = { type: "NFC" };
  using tokenizer = await tokenizerFromJson(toBytes(json));
  assertEquals(tokenizer.engineReason, "normalizer is NFC");
  const official = Official.fromString(JSON.stringify(json));
  const wanted = await official.encode("e\u0301A\u030a", null, { addSpecialTokens: false });
  assertEquals([...tokenizer.encode("e\u0301A\u030a")], wanted.getIds());
});

Deno.test("tokenizerFromJson() uses the package when a byte has no token", async () => {
  const json = gpt2Json();
  json.model.vocab = { ...json.model.vocab, "<|endoftext|>": 50256 };
  delete json.model.vocab["Ā"];
  json.model.merges = json.model.merges.filter((pair: string[]) => !pair.join("").includes("Ā"));
  using tokenizer = await tokenizerFromJson(toBytes(json));
  assertEquals(tokenizer.engineReason, "no token for the byte 0x00");
});

Deno.test("tokenizerFromJson() says what failed when the package refuses the file", async () => {
  const json = wordPieceJson();
  json.model.type = "Telepathy";
  await assertRejects(
    () => tokenizerFromJson(toBytes(json), { name: "odd.json" }),
    TokenizerError,
    "Cannot load odd.json as the native tokenizer does not run it (model.type is Telepathy)",
  );
});

Deno.test("decode() of the package's engine refuses an id beyond the vocabulary", async () => {
  using tokenizer = await tokenizerFromJson(toBytes(wordPieceJson()));
  assertThrows(() => tokenizer.decode([3, 99]), RangeError, "current value is 99 at index 1");
});
