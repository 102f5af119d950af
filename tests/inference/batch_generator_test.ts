import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { BatchGenerator, type GenerationReport } from "../../lib/inference/batch_generator.ts";
import type { DecoderOptions } from "../../lib/inference/decoder.ts";
import {
  generateTexts,
  type GenerationOptions,
  TokenGenerator,
} from "../../lib/inference/generate.ts";
import { loadModel } from "../../lib/inference/load_model.ts";
import { BitNetTransformer } from "../../lib/model/transformer.ts";
import { byteTokenizerJson, saveModel, tinyConfig, withFolder } from "./support.ts";

const PROMPTS = [[5, 6, 7], [1], [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 11], [42, 43], [77, 5, 6, 7, 1]];

function createModel(options: Parameters<typeof tinyConfig>[0] = {}): BitNetTransformer {
  return BitNetTransformer.create(tinyConfig(options), {
    device: { kind: "cpu", threads: 2 },
    training: false,
    seed: 21,
  });
}

/** Tokens of every prompt, and the reports. */
function drainBatch(
  generator: BatchGenerator,
  prompts: readonly number[][],
  options: Parameters<BatchGenerator["generate"]>[1],
): { tokens: number[][]; reports: GenerationReport[] } {
  const tokens = prompts.map((): number[] => []);
  const generation = generator.generate(prompts, options);
  for (;;) {
    const { done, value } = generation.next();
    if (done) return { tokens, reports: value };
    tokens[value.prompt]!.push(value.id);
  }
}

/** Tokens and how each prompt ended, one prompt at a time. */
function oneByOne(
  model: BitNetTransformer,
  options: GenerationOptions & { endIds?: ReadonlySet<number> },
  decoder: DecoderOptions,
) {
  using generator = new TokenGenerator(model, decoder);
  const results = PROMPTS.map((prompt) => {
    const tokens: number[] = [];
    const generation = generator.generate(prompt, options);
    for (;;) {
      const { done, value } = generation.next();
      if (done) return { tokens, stop: value.stop, passes: value.decodePasses };
      tokens.push(value);
    }
  });
  return results;
}

const KINDS: [string, GenerationOptions][] = [
  ["greedily", { temperature: 0, maxTokens: 30 }],
  ["from the 7 likeliest", { temperature: 1.5, topK: 7, topP: 0.9, seed: 3, maxTokens: 30 }],
  ["from the whole vocabulary", { temperature: 2, topK: 0, seed: 5, maxTokens: 30 }],
];
for (const cacheDtype of ["float32", "bfloat16", "int8"] as const) {
  for (const [how, options] of KINDS) {
    Deno.test(`BatchGenerator continues each prompt as if it were alone when it chooses ${how} over a ${cacheDtype} cache`, () => {
      using model = createModel();
      const decoder = { capacity: 24, chunkTokens: 4, cacheDtype };
      // One of the tokens that are chosen ends a text, so that prompts end at different times.
      const free = oneByOne(model, options, decoder);
      const endIds = new Set([free[2]!.tokens[3]!]);
      const expected = oneByOne(model, { ...options, endIds }, decoder);
      assert(new Set(expected.map(({ tokens }) => tokens.length)).size > 1);
      for (const sequences of [1, 2, 5, 7]) {
        using generator = new BatchGenerator(model, { ...decoder, sequences });
        const { tokens, reports } = drainBatch(generator, PROMPTS, { ...options, endIds });
        const actual = reports.map(({ stop, decodePasses }, i) => ({
          tokens: tokens[i],
          stop,
          passes: decodePasses,
        }));
        assertEquals(actual, expected, `${sequences} sequences`);
      }
    });
  }
}

Deno.test("BatchGenerator gives the same again when it has chosen otherwise in between", () => {
  using model = createModel();
  using generator = new BatchGenerator(model, { capacity: 24, sequences: 3 });
  const [greedy, all] = [KINDS[0]![1], KINDS[2]![1]];
  const first = drainBatch(generator, PROMPTS, greedy).tokens;
  drainBatch(generator, PROMPTS, all);
  assertEquals(drainBatch(generator, PROMPTS, greedy).tokens, first);
});

Deno.test("BatchGenerator has nothing to do when there are no prompts", () => {
  using model = createModel();
  using generator = new BatchGenerator(model, { capacity: 24 });
  assertEquals(drainBatch(generator, [], {}), { tokens: [], reports: [] });
});

Deno.test("BatchGenerator names the prompt that it can't continue, before anything runs", () => {
  using model = createModel();
  using generator = new BatchGenerator(model, { capacity: 8, sequences: 2 });
  const refused = (prompts: number[][], message: string) =>
    assertThrows(() => generator.generate(prompts).next(), RangeError, message);
  refused([[1], []], "Cannot continue prompt 2 of 2 as it must hold at least one token");
  refused([[1, 2, 3, 4, 5, 6, 7, 8], [1]], "Cannot continue prompt 1 of 2 as it must leave room");
  refused([[1], [2], [3, 101]], "Cannot continue prompt 3 of 3 as its ids must be from 0 to 100");
});

Deno.test("BatchGenerator ends a prompt after the token that isLast() says so of, and draws each from its seed", () => {
  using model = createModel();
  const options = { temperature: 1.5, topK: 0, maxTokens: 12 };
  const alone = [4, 9].map((seed) => {
    using generator = new BatchGenerator(model, { capacity: 24 });
    return drainBatch(generator, [[5, 6]], { ...options, seed }).tokens[0]!;
  });
  assertNotEquals(alone[0], alone[1]);
  using generator = new BatchGenerator(model, { capacity: 24, sequences: 2 });
  const seen: number[] = [];
  const { tokens, reports } = drainBatch(generator, [[5, 6], [5, 6]], {
    ...options,
    seeds: [4, 9],
    isLast: (prompt, id) => prompt === 1 && seen.push(id) === 3,
  });
  assertEquals(tokens, [alone[0]!, alone[1]!.slice(0, 3)]);
  assertEquals(reports.map(({ stop }) => stop), ["max_tokens", "stop_text"]);
});

for (const sequences of [0, 65, 1.5]) {
  Deno.test(`BatchGenerator refuses ${sequences} sequences`, () => {
    using model = createModel();
    assertThrows(
      () => new BatchGenerator(model, { capacity: 8, sequences }),
      RangeError,
      `current value is ${sequences}`,
    );
  });
}

Deno.test("generateTexts() yields the text of each prompt alone when several run at once", () =>
  withFolder(async (folder) => {
    using model = createModel({ vocabSize: 260 });
    const path = await saveModel(folder, model, { tokenizerJson: byteTokenizerJson() });
    using loaded = await loadModel(path, { device: { kind: "cpu", threads: 1 } });
    const prompts = ["Hello", "é", "Grüße,", "x"];
    const texts = (given: string[], options: { sequences?: number } = {}) => {
      const pieces = given.map(() => "");
      const settings = { temperature: 2, topK: 0, seed: 4, maxTokens: 15, ...options };
      for (const { prompt, text } of generateTexts(loaded, given, settings)) pieces[prompt] += text;
      return pieces;
    };
    const alone = prompts.map((prompt) => texts([prompt])[0]);
    assertEquals(texts(prompts), alone);
    assertEquals(texts(prompts, { sequences: 3 }), alone);
    assertThrows(() => texts(["a", "b".repeat(32)]), RangeError, "Cannot continue prompt 2 of 2");
  }));

Deno.test("generateTexts() takes equal prompts for samples: each is what its seed gives a prompt alone", () =>
  withFolder(async (folder) => {
    using model = createModel({ vocabSize: 260 });
    const path = await saveModel(folder, model, { tokenizerJson: byteTokenizerJson() });
    using loaded = await loadModel(path, { device: { kind: "cpu", threads: 1 } });
    const texts = (prompts: string[], seed: number) => {
      const pieces = prompts.map(() => "");
      const settings = { temperature: 2, topK: 0, seed, maxTokens: 15 };
      for (const { prompt, text } of generateTexts(loaded, prompts, settings)) {
        pieces[prompt] += text;
      }
      return pieces;
    };
    const alone = [4, 5, 6].map((seed) => texts(["The"], seed)[0]);
    assertEquals(new Set(alone).size, 3);
    assertEquals(texts(["The", "x", "The", "The"], 4), [
      alone[0],
      texts(["x"], 4)[0],
      ...alone.slice(1),
    ]);
  }));

Deno.test("generateTexts() ends a text before a stop text that lies across tokens", () =>
  withFolder(async (folder) => {
    using model = createModel({ vocabSize: 260 });
    const path = await saveModel(folder, model, { tokenizerJson: byteTokenizerJson() });
    using loaded = await loadModel(path, { device: { kind: "cpu", threads: 1 } });
    const run = (stopTexts: string[]) => {
      let whole = "";
      const generation = generateTexts(loaded, ["Hello"], { temperature: 0, stopTexts });
      for (;;) {
        const { done, value } = generation.next();
        if (done) return { text: whole, ...value[0]! };
        whole += value.text;
      }
    };
    const free = run([]);
    const stop = free.text.slice(6, 9);
    const stopped = run(["never there", stop]);
    assertEquals(stopped.stop, "stop_text");
    assertEquals(stopped.text, free.text.slice(0, free.text.indexOf(stop)));
    assert(stopped.tokens < free.tokens);
    const other = run([free.text.slice(-1) + "and more"]);
    assertEquals(
      [other.text, other.stop],
      [free.text, free.stop],
      "what was held back came at the end",
    );
    assertThrows(() => run([""]), RangeError, "must hold a character");
  }));
