import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { TokenizerError } from "../../lib/tokenizer/errors.ts";
import { loadTokenizer, tokenizerFromJson } from "../../lib/tokenizer/tokenizer.ts";
import { StreamDecoder } from "../../lib/tokenizer/stream_decoder.ts";
import { fuzzTexts, HARD_TEXTS } from "./texts.ts";
import {
  addedToken,
  gpt2Json,
  type Json,
  llamaJson,
  sharedTokenizer,
  toBytes,
} from "./vocabularies.ts";

const encoder = new TextEncoder();

Deno.test("tokenizerFromJson() finds the usual beginning and end tokens", async () => {
  const gpt2 = await sharedTokenizer(gpt2Json);
  const llama = await sharedTokenizer(llamaJson);
  assertEquals([gpt2.bosId, gpt2.eosId], [null, 50256]);
  assertEquals([llama.bosId, llama.eosId], [1, 2]);
});

Deno.test("tokenizerFromJson() takes the end token that the options name", async () => {
  using llama = await tokenizerFromJson(toBytes(llamaJson()), { eosToken: "<unk>" });
  assertEquals(llama.eosId, 0);
});

Deno.test("tokenizerFromJson() refuses an end token that the vocabulary lacks", async () => {
  await assertRejects(
    () => tokenizerFromJson(toBytes(llamaJson()), { eosToken: "<nope>" }),
    TokenizerError,
    'eosToken must be a token of it: current value is "<nope>"',
  );
});

Deno.test("hash is the SHA-256 of the file's bytes", async () => {
  const bytes = toBytes(llamaJson());
  using llama = await tokenizerFromJson(bytes);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes.slice()));
  assertEquals(llama.hash, [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join(""));
});

Deno.test("encode() knows LLaMA's published ids", async () => {
  const llama = await sharedTokenizer(llamaJson);
  assertEquals([...llama.encode("Hello world")], [15043, 3186]);
});

Deno.test("encode() gives the same ids when the words are remembered", async () => {
  const gpt2 = await sharedTokenizer(gpt2Json);
  const texts = [...HARD_TEXTS, ...fuzzTexts(21, 200)];
  const first = texts.map((text) => [...gpt2.encode(text)]);
  assertEquals(texts.map((text) => [...gpt2.encode(text)]), first);
});

Deno.test("encode() gives the same ids when more words passed than can be remembered", async () => {
  for (const make of [gpt2Json, llamaJson]) {
    const tokenizer = await sharedTokenizer(make);
    const texts = [...HARD_TEXTS, ...fuzzTexts(22, 100)];
    const wanted = texts.map((text) => [...tokenizer.encode(text)]);
    let state = 1;
    const words = Array.from({ length: 700_000 }, () => {
      state = (state * 48271) % 2147483647;
      const word = state.toString(36).replace(/[0-9]/g, (digit) => "qwertyuiop"[Number(digit)]!);
      return state % 3 === 0 ? `${word}longerthanfifteenbytes` : word;
    });
    const text = words.join(" ");
    assert(tokenizer.decode(tokenizer.encode(text)) === text, "words were taken for others");
    assertEquals(texts.map((text) => [...tokenizer.encode(text)]), wanted);
  }
});

Deno.test("encodeBatch() gives each document the ids that encode() gives it, and its end id", async () => {
  const llama = await sharedTokenizer(llamaJson);
  const { ids, ends } = llama.encodeBatch(HARD_TEXTS.map((text) => encoder.encode(text)), {
    endId: 2,
  });
  const wanted = HARD_TEXTS.map((text) => [...llama.encode(text), 2]);
  assertEquals([...ids], wanted.flat());
  let end = 0;
  assertEquals([...ends], wanted.map((part) => end += part.length));
});

Deno.test("encodeBatch() gives nothing when there are no documents", async () => {
  const gpt2 = await sharedTokenizer(gpt2Json);
  assertEquals(gpt2.encodeBatch([]), { ids: new Uint32Array(0), ends: new Float64Array(0) });
});

Deno.test("encodeBatch() reads special tokens as text when asked to", async () => {
  const gpt2 = await sharedTokenizer(gpt2Json);
  const document = encoder.encode("a<|endoftext|>b");
  const plain = gpt2.encodeBatch([document], { specialsAsText: true }).ids;
  assertEquals([...gpt2.encodeBatch([document]).ids], [64, 50256, 65]);
  assert(!plain.includes(50256) && plain.length > 3);
  assertEquals(gpt2.decode(plain), "a<|endoftext|>b");
});

Deno.test("encodeBatch() refuses an end id beyond the vocabulary", async () => {
  const gpt2 = await sharedTokenizer(gpt2Json);
  assertThrows(
    () => gpt2.encodeBatch([], { endId: 50257 }),
    RangeError,
    "endId must be an id below 50257: current value is 50257",
  );
});

Deno.test("encode() survives bytes that are no UTF-8 and gives them back", async () => {
  for (const make of [gpt2Json, llamaJson]) {
    const tokenizer = await sharedTokenizer(make);
    for (
      const bytes of [[0xff], [0x61, 0xe4, 0xb8], [0x80, 0x20, 0xc3], [0xf4, 0x90, 0x80, 0x80]]
    ) {
      const ids = tokenizer.encode(Uint8Array.from(bytes));
      assertEquals([...tokenizer.decodeBytes(ids)], bytes);
    }
  }
});

Deno.test("decode() refuses an id beyond the vocabulary and says where it is", async () => {
  const gpt2 = await sharedTokenizer(gpt2Json);
  const message = "below the vocabulary's 50257: current value is 50257 at index 1";
  assertThrows(() => gpt2.decode([1, 50257]), RangeError, message);
  assertThrows(() => gpt2.decode(Uint32Array.of(1, 50257)), RangeError, message);
  assertThrows(() => gpt2.decode([-1]), RangeError, "current value is -1");
});

Deno.test("tokenBytes() of all ids spell the text when they are put together", async () => {
  for (const make of [gpt2Json, llamaJson]) {
    const tokenizer = await sharedTokenizer(make);
    const text = "Four score — 世界 😀\n\n  and seven";
    const bytes = [...tokenizer.encode(text)].flatMap((id) => [...tokenizer.tokenBytes(id)]);
    assertEquals(new TextDecoder().decode(Uint8Array.from(bytes)).trimStart(), text);
  }
});

Deno.test("idOf() and tokenName() are each other's inverse", async () => {
  const gpt2 = await sharedTokenizer(gpt2Json);
  assertEquals([gpt2.idOf("Ġthe"), gpt2.tokenName(262), gpt2.idOf("no such token")], [
    262,
    "Ġthe",
    null,
  ]);
});

Deno.test("a disposed tokenizer refuses to encode", async () => {
  const gpt2 = await tokenizerFromJson(toBytes(gpt2Json()));
  gpt2[Symbol.dispose]();
  assertThrows(() => gpt2.encode("a"), TypeError, "was disposed");
});

Deno.test("StreamDecoder gives the whole text, and only complete characters on the way", async () => {
  for (const make of [gpt2Json, llamaJson]) {
    const tokenizer = await sharedTokenizer(make);
    const text = "naïve 世界 👩‍👩‍👧 ok\ufeff \u{10ffff}";
    const stream = new StreamDecoder(tokenizer, { startOfText: true });
    const parts = [...tokenizer.encode(text)].map((id) => stream.push(id));
    assertEquals([parts.join(""), stream.flush()], [text, ""]);
    assert(parts.every((part) => !part.includes("\ufffd")));
  }
});

Deno.test("StreamDecoder keeps the space of a first token that goes on with a text", async () => {
  const llama = await sharedTokenizer(llamaJson);
  assertEquals(new StreamDecoder(llama).push(llama.idOf("▁the")!), " the");
});

Deno.test("StreamDecoder gives U+FFFD when a character is cut short", async () => {
  const llama = await sharedTokenizer(llamaJson);
  const stream = new StreamDecoder(llama);
  assertEquals([stream.push(llama.idOf("<0xE4>")!), stream.flush()], ["", "\ufffd"]);
});

const broken: Record<string, [change: (json: Json) => void, message: string]> = {
  "a merge names no token": [
    (json) => json.model.merges[7] = ["Ġ", "no such"],
    'model.merges[7] must be pairs of tokens that model.vocab holds, joined as well: current value is ["Ġ","no such"]',
  ],
  "a merge is no pair": [(json) => json.model.merges[3] = "abc", "model.merges[3]"],
  "an id is no integer": [(json) => json.model.vocab["!"] = 1.5, 'model.vocab["!"] must be an id'],
  "the vocabulary is missing": [
    (json) => json.model = { type: "BPE", merges: [] },
    "model.vocab must hold tokens and ids",
  ],
  "an added token has no id": [
    (json) => json.added_tokens.push(addedToken("x" as unknown as number, "<x>")),
    "added_tokens[1]",
  ],
  "there is no model": [(json) => delete json.model, "model must be an object"],
  "an id lies far beyond the others": [
    (json) => Object.assign(json.model.vocab, { "<|endoftext|>": 50256, zzzz: 2 ** 30 }),
    "largest id must be near",
  ],
};

for (const [name, [change, message]] of Object.entries(broken)) {
  Deno.test(`tokenizerFromJson() names the file and the key when ${name}`, async () => {
    const json = gpt2Json();
    json.model = { ...json.model, vocab: { ...json.model.vocab }, merges: [...json.model.merges] };
    change(json);
    const error = await assertRejects(
      () => tokenizerFromJson(toBytes(json), { name: "broken.json" }),
      TokenizerError,
      message,
    );
    assert(error.message.includes("broken.json"), error.message);
  });
}

Deno.test("loadTokenizer() names the path when there is no such file", async () => {
  await assertRejects(
    () => loadTokenizer("/nowhere/tokenizer.json"),
    TokenizerError,
    "Cannot read the tokenizer /nowhere/tokenizer.json",
  );
});

Deno.test("tokenizerFromJson() refuses bytes that are no JSON", async () => {
  await assertRejects(
    () => tokenizerFromJson(encoder.encode("{"), { name: "cut.json" }),
    TokenizerError,
    "Cannot read cut.json as it must be JSON",
  );
});
