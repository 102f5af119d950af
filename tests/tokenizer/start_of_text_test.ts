import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { TokenizerError } from "../../lib/tokenizer/errors.ts";
import { startIdsOf, withStart } from "../../lib/tokenizer/start_of_text.ts";
import { loadTokenizer, tokenizerFromJson } from "../../lib/tokenizer/tokenizer.ts";
import { Tokenizer as Official } from "tokenizers";
import { smallJson } from "./small_files.ts";
import { addedToken, type Json, toBytes } from "./vocabularies.ts";

const BYTE_LEVEL = {
  type: "ByteLevel",
  add_prefix_space: true,
  trim_offsets: false,
  use_regex: true,
};

function template(...names: string[]): Json {
  const ids: Record<string, number> = { "<s>": 259, "</s>": 260 };
  return {
    type: "TemplateProcessing",
    single: names.map((name) =>
      name === "$A"
        ? { Sequence: { id: "A", type_id: 0 } }
        : { SpecialToken: { id: name, type_id: 0 } }
    ),
    pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }],
    special_tokens: Object.fromEntries(
      Object.entries(ids).map(([id, number]) => [id, { id, ids: [number], tokens: [id] }]),
    ),
  };
}

function json(postProcessor: Json): Json {
  const added = ["<s>", "</s>"].map((name) => addedToken(0, name));
  return { ...smallJson("byte_level", added), post_processor: postProcessor };
}

const RULES: [string, Json, number[]][] = [
  ["null", null, []],
  ["ByteLevel", BYTE_LEVEL, []],
  ["a template of the text alone", template("$A", "</s>"), []],
  ["a template with a token before the text", template("<s>", "$A"), [259]],
  ["a template with two", template("<s>", "</s>", "$A"), [259, 260]],
  ["a sequence, as Llama 3 has it", {
    type: "Sequence",
    processors: [BYTE_LEVEL, template("<s>", "$A")],
  }, [259]],
  ["BertProcessing", { type: "BertProcessing", sep: ["</s>", 260], cls: ["<s>", 259] }, [259]],
  ["RobertaProcessing", {
    ...{ type: "RobertaProcessing", sep: ["</s>", 260], cls: ["<s>", 259] },
    ...{ trim_offsets: true, add_prefix_space: false },
  }, [259]],
];
for (const [what, postProcessor, ids] of RULES) {
  Deno.test(`startIds are what the package puts before a text by ${what}`, async () => {
    const file = json(postProcessor);
    using tokenizer = await tokenizerFromJson(toBytes(file));
    assertEquals(tokenizer.startIds, ids);
    const official = Official.fromString(JSON.stringify(file));
    const all = (await official.encode("b", null, { addSpecialTokens: true })).getIds();
    assertEquals(all.slice(0, all.indexOf(tokenizer.idOf("b")!)), ids);
  });
}

Deno.test("startIdsOf() names the key when a post-processor is of no known kind or has no text", () => {
  const wrong: [Json, string][] = [
    [{ type: "Telepathy" }, "post_processor.type must be ByteLevel, TemplateProcessing"],
    [template("<s>"), "post_processor.single must hold a Sequence"],
    [
      { type: "Sequence", processors: [template("<s>", "$A"), template("</s>", "$A")] },
      "post_processor.processors must hold one that adds tokens at most: current value is 2",
    ],
    [template("<x>", "$A"), "post_processor.single[0] must be a Sequence or a token of"],
    [template("<s>", "$A"), "put at most 8 ids below the vocabulary's 259 before a text"],
  ];
  for (const [postProcessor, message] of wrong) {
    assertThrows(
      () => startIdsOf(postProcessor, { vocabSize: 259, file: "odd.json" }),
      TokenizerError,
      message,
    );
  }
});

Deno.test("loadTokenizer() goes by add_bos_token when a tokenizer_config.json beside the file has it", async () => {
  const folder = await Deno.makeTempDir({ prefix: "titanbit_start_" });
  try {
    const path = `${folder}/tokenizer.json`;
    const config = `${folder}/tokenizer_config.json`;
    const startOf = async (postProcessor: Json, fields: Json) => {
      Deno.writeFileSync(path, toBytes(json(postProcessor)));
      Deno.writeTextFileSync(config, JSON.stringify(fields));
      using tokenizer = await loadTokenizer(path);
      return tokenizer.startIds;
    };
    const bos = { content: "<s>", lstrip: false };
    assertEquals(await startOf(null, { add_bos_token: true, bos_token: "<s>" }), [259]);
    assertEquals(await startOf(null, { add_bos_token: true, bos_token: bos }), [259]);
    assertEquals(await startOf(template("<s>", "$A"), { add_bos_token: false }), []);
    assertEquals(await startOf(template("<s>", "$A"), { bos_token: "</s>" }), [259]);
    await assertRejects(
      () => startOf(null, { add_bos_token: true, bos_token: null }),
      TokenizerError,
      `Cannot read ${config} as bos_token must be a token as add_bos_token is true`,
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("withStart() gives a text that begins with the ids no second ones", () => {
  assertEquals([...withStart([5, 6], [1, 2])], [1, 2, 5, 6]);
  assertEquals([...withStart([1, 2, 5], [1, 2])], [1, 2, 5]);
  assertEquals([...withStart([5], [])], [5]);
});
