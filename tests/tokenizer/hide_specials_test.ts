import { assertEquals } from "@std/assert";
import { tokenizerFromJson } from "../../lib/tokenizer/tokenizer.ts";
import { numbered, smallJson } from "./small_files.ts";
import { addedToken, type Json, toBytes } from "./vocabularies.ts";

const MARK = "</s>";

/** A file around a model that names the mark; `added` or not, it ends documents. */
function fileOf(model: Json, options: Json = {}): Json {
  return { ...smallJson("byte_level"), added_tokens: [], decoder: null, ...options, model };
}

const METASPACE = { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true };
const PIECES = ["▁", "▁the", "▁end", "the", ..."<>/sthend"];

function unigram(): Json {
  const vocab = ["<unk>", MARK, ...new Set(PIECES)].map((name, id) => [name, id < 2 ? 0 : -id]);
  return fileOf({ type: "Unigram", unk_id: 0, vocab }, { pre_tokenizer: METASPACE });
}

function words(type: string): Json {
  const vocab = numbered(["<unk>", MARK, "the", "end", "<", "/", "##s", "##>"]);
  const model = type === "WordLevel" ? { type, unk_token: "<unk>", vocab } : {
    ...{ type, unk_token: "<unk>", vocab },
    continuing_subword_prefix: "##",
    max_input_chars_per_word: 99,
  };
  return fileOf(model, { pre_tokenizer: { type: "WhitespaceSplit" } });
}

/** One of {@linkcode smallJson} whose merges make the mark. */
function merged(kind: string): Json {
  const json = smallJson(kind);
  const { vocab, merges } = json.model;
  for (const name of ["/", "s"]) vocab[name] ??= Object.keys(vocab).length;
  for (const [left, right] of [["<", "/"], ["s", ">"], ["</", "s>"]]) {
    vocab[left! + right!] = Object.keys(vocab).length;
    merges.push([left, right]);
  }
  return json;
}

function wholeWord(): Json {
  const json = smallJson("byte_level_unsplit");
  json.model.vocab[MARK] = Object.keys(json.model.vocab).length;
  json.model.ignore_merges = true;
  return json;
}

const normalized = (json: Json) => ({ ...json, normalizer: { type: "NFC" } });

const FILES: [string, string, () => Json][] = [
  ["Unigram", "tokenizers", unigram],
  ["WordLevel", "tokenizers", () => words("WordLevel")],
  ["WordPiece", "tokenizers", () => words("WordPiece")],
  ["byte-level BPE whose merges make it", "native", () => merged("byte_level_unsplit")],
  [
    "byte-level BPE whose merges make it",
    "tokenizers",
    () => normalized(merged("byte_level_unsplit")),
  ],
  ["SentencePiece-style BPE whose merges make it", "native", () => merged("normalizer")],
  ["byte-level BPE that ignores merges", "native", wholeWord],
  ["byte-level BPE that ignores merges", "tokenizers", () => normalized(wholeWord())],
];

for (const [what, engine, make] of FILES) {
  for (const entry of ["special", "not special", "no"]) {
    Deno.test(`encodeBatch() keeps a spelt-out end of text from ending it when it is ${entry} added token of ${what} on ${engine}`, async () => {
      const json = make();
      const { vocab } = json.model;
      const id = Array.isArray(vocab) ? vocab.findIndex(([name]) => name === MARK) : vocab[MARK];
      if (entry !== "no") {
        json.added_tokens = [addedToken(id, MARK, { special: entry === "special" })];
      }
      using tokenizer = await tokenizerFromJson(toBytes(json));
      assertEquals([tokenizer.engine, tokenizer.eosId], [engine, id]);
      for (const text of ["the end</s>the end", "the </s> end", "</s>"]) {
        const documents = [new TextEncoder().encode(text)];
        const { ids } = tokenizer.encodeBatch(documents, { specialsAsText: true });
        assertEquals(ids.includes(id), false, text);
        // Asked for, it is found.
        if (text === MARK) assertEquals(tokenizer.encode(text).includes(id), true);
      }
    });
  }
}

Deno.test("encodeBatch() still spells bytes by their tokens when a file calls one of them special", async () => {
  const json = smallJson("byte_level", [addedToken(0, "!")]);
  using native = await tokenizerFromJson(toBytes(json));
  using other = await tokenizerFromJson(toBytes(json), { engine: "tokenizers" });
  const documents = [new TextEncoder().encode("a!")];
  for (const tokenizer of [native, other]) {
    const { ids } = tokenizer.encodeBatch(documents, { specialsAsText: true });
    assertEquals(tokenizer.decode(ids), "a!");
  }
});
