import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  generateText,
  type GenerationOptions,
  type GenerationReport,
  TokenGenerator,
} from "../../lib/inference/generate.ts";
import { type LoadedModel, loadModel } from "../../lib/inference/load_model.ts";
import { likeliest } from "../../lib/inference/sampler.ts";
import { BitNetTransformer } from "../../lib/model/transformer.ts";
import { byteTokenizerJson, END_ID, saveModel, tinyConfig, withFolder } from "./support.ts";

const GREEDY = { temperature: 0 };

function createModel(options: Parameters<typeof tinyConfig>[0] = {}): BitNetTransformer {
  return BitNetTransformer.create(tinyConfig(options), {
    device: { kind: "cpu", threads: 1 },
    training: false,
    seed: 21,
  });
}

/** Takes everything out of a generator. */
function drain<Piece>(generation: Generator<Piece, GenerationReport>): {
  pieces: Piece[];
  report: GenerationReport;
} {
  const pieces: Piece[] = [];
  for (;;) {
    const { done, value } = generation.next();
    if (done) return { pieces, report: value };
    pieces.push(value);
  }
}

/** Tokens by running everything anew for each. */
function greedyByFullPasses(model: BitNetTransformer, prompt: number[], count: number): number[] {
  const ids = [...prompt];
  const { vocabSize } = model.config;
  for (let i = 0; i < count; i++) {
    const { logits } = model.forward(ids);
    ids.push(likeliest(logits.subarray(logits.length - vocabSize)));
  }
  return ids.slice(prompt.length);
}

Deno.test("TokenGenerator chooses the tokens of full passes when it decodes greedily", () => {
  using model = createModel({ quantization: "none" });
  using generator = new TokenGenerator(model, { capacity: 40 });
  const { pieces } = drain(generator.generate([5, 6, 7], { ...GREEDY, maxTokens: 25 }));
  assertEquals(pieces, greedyByFullPasses(model, [5, 6, 7], 25));
});

for (const chunkTokens of [1, 2, 5, 10, 11]) {
  Deno.test(`TokenGenerator chooses the same tokens when a prompt of 10 comes in chunks of ${chunkTokens}`, () => {
    using model = createModel({ quantization: "none" });
    const prompt = [9, 8, 7, 6, 5, 4, 3, 2, 1, 0];
    const options = { temperature: 1, seed: 3, maxTokens: 20 };
    using whole = new TokenGenerator(model, { capacity: 40 });
    using parts = new TokenGenerator(model, { capacity: 40, chunkTokens });
    const expected = drain(whole.generate(prompt, options)).pieces;
    assertEquals(drain(parts.generate(prompt, options)).pieces, expected);
  });
}

Deno.test("TokenGenerator gives the same tokens when it generates a second time", () => {
  using model = createModel();
  using generator = new TokenGenerator(model, { capacity: 30 });
  const generate = () => drain(generator.generate([1, 2, 3, 4], { seed: 5, maxTokens: 12 })).pieces;
  assertEquals(generate(), generate());
});

Deno.test("TokenGenerator stops when maxTokens is reached", () => {
  using model = createModel();
  using generator = new TokenGenerator(model, { capacity: 30 });
  const { pieces, report } = drain(generator.generate([1, 2], { maxTokens: 4 }));
  assertEquals([pieces.length, report.tokens, report.stop], [4, 4, "max_tokens"]);
});

Deno.test("TokenGenerator stops when prompt and continuation fill the context", () => {
  using model = createModel();
  using generator = new TokenGenerator(model, { capacity: 10 });
  const { pieces, report } = drain(generator.generate([1, 2, 3]));
  assertEquals([pieces.length, report.stop], [7, "context_full"]);
});

Deno.test("TokenGenerator does not yield the end of the text when the model ends it", () => {
  using model = createModel();
  using generator = new TokenGenerator(model, { capacity: 40 });
  const free = drain(generator.generate([1, 2, 3], { seed: 2, maxTokens: 8 })).pieces;
  const endIds = new Set([free[5]!]);
  const { pieces, report } = drain(
    generator.generate([1, 2, 3], { seed: 2, maxTokens: 8, endIds }),
  );
  const expected = free.slice(0, free.indexOf(free[5]!));
  assertEquals([pieces, report.stop, report.tokens], [expected, "end_of_text", expected.length]);
});

Deno.test("TokenGenerator chooses no id at or above vocabSize when the model's vocabulary is padded", () => {
  using model = createModel();
  using generator = new TokenGenerator(model, { capacity: 48 });
  const options = { temperature: 50, topK: 0, maxTokens: 40, vocabSize: 7 };
  const { pieces } = drain(generator.generate([1], options));
  assert(pieces.every((id) => id < 7) && pieces.includes(6), `chosen: ${pieces}`);
});

Deno.test("TokenGenerator reports passes of one token and their time when it has decoded", () => {
  using model = createModel();
  using generator = new TokenGenerator(model, { capacity: 40 });
  const { report } = drain(generator.generate([1, 2, 3], { maxTokens: 9 }));
  assertEquals([report.promptTokens, report.decodePasses], [3, 8]);
  assert(report.prefillMs > 0 && report.decodeMs > 0);
});

const WRONG: [string, number[], GenerationOptions, string][] = [
  ["a prompt without tokens", [], {}, "at least one token"],
  ["a prompt that fills the context", [1, 2, 3, 4, 5, 6, 7, 8], {}, "context of 8 tokens"],
  ["an id beyond the vocabulary", [1, 101], {}, "current value of id 1 is 101"],
  ["a negative id", [-1], {}, "current value of id 0 is -1"],
  ["no tokens to generate", [1], { maxTokens: 0 }, "max-tokens must be a whole number above 0"],
  ["a temperature below 0", [1], { temperature: -1 }, "temperature"],
];
for (const [what, prompt, options, message] of WRONG) {
  Deno.test(`TokenGenerator refuses to run when it is given ${what}`, () => {
    using model = createModel();
    using generator = new TokenGenerator(model, { capacity: 8 });
    assertThrows(() => generator.generate(prompt, options).next(), RangeError, message);
  });
}

/** A saved and loaded model over bytes. */
function withByteModel(
  body: (loaded: LoadedModel) => void,
  options: { startIds?: readonly number[]; starts?: boolean; tokenizer?: boolean } = {},
): Promise<void> {
  return withFolder(async (folder) => {
    using model = createModel({ vocabSize: 260 });
    const path = await saveModel(folder, model, {
      tokenizerJson: options.tokenizer === false
        ? null
        : byteTokenizerJson({ starts: options.starts ?? false }),
      specialTokens: {
        ...{ bosTokenId: END_ID, eosTokenId: null, padTokenId: null },
        ...(options.startIds !== undefined && { startIds: options.startIds }),
      },
    });
    using loaded = await loadModel(path, { device: { kind: "cpu", threads: 1 } });
    body(loaded);
  });
}

Deno.test("generateText() yields the text of the tokens when pieces are joined", () =>
  withByteModel((loaded) => {
    const options = { temperature: 1, topK: 0, seed: 1, maxTokens: 20 };
    using generator = new TokenGenerator(loaded.model, { capacity: 32 });
    const { pieces: ids } = drain(generator.generate(loaded.tokenizer!.encode("Hello"), {
      ...options,
      endIds: new Set([END_ID]),
      vocabSize: 257,
    }));
    const { pieces } = drain(generateText(loaded, "Hello", options));
    assertEquals(pieces.join(""), loaded.tokenizer!.decode(ids));
  }));

Deno.test("generateText() yields whole characters only when a character takes several tokens", () =>
  withByteModel((loaded) => {
    // Random bytes: most are no UTF-8, and what is yielded must be decodable all the same.
    const { pieces } = drain(
      generateText(loaded, "é", { temperature: 3, topK: 0, seed: 4, maxTokens: 28 }),
    );
    for (const piece of pieces) assertEquals(piece, piece.toWellFormed());
    assert(pieces.length > 1 && pieces.every((piece) => piece !== ""));
  }));

Deno.test("generateText() stops at the model's context when the text is longer", () =>
  withByteModel((loaded) => {
    const { report } = drain(generateText(loaded, "Hello", { topK: 1, maxTokens: 1000 }));
    assertEquals([report.stop, report.promptTokens + report.tokens], ["context_full", 32]);
  }));

// What config.json calls bos_token_id is the same in all of them.
const STARTS: [string, { startIds?: readonly number[]; starts?: boolean }, string, number][] = [
  ["none when neither the tokenizer nor the model says so", {}, "Hello", 5],
  ["the tokenizer's own when the model says nothing", { starts: true }, "Hello", 6],
  ["the one of the model's documents", { startIds: [END_ID] }, "Hello", 6],
  ["none when the model's documents had none", { startIds: [], starts: true }, "Hello", 5],
  ["one alone when the prompt spells it", { starts: true }, "<|endoftext|>Hello", 6],
];
for (const [what, options, prompt, tokens] of STARTS) {
  Deno.test(`generateText() gives a prompt a first token: ${what}`, () =>
    withByteModel((loaded) => {
      const { report } = drain(generateText(loaded, prompt, { maxTokens: 1 }));
      assertEquals(report.promptTokens, tokens);
    }, options));
}

Deno.test("generateText() refuses an empty prompt when there is a first token all the same", () =>
  withByteModel((loaded) => {
    assertThrows(() => generateText(loaded, "").next(), RangeError, "at least one token");
  }, { starts: true }));

Deno.test("generateText() names the folder when the model has no tokenizer", () =>
  withByteModel((loaded) => {
    assertThrows(() => generateText(loaded, "a").next(), TypeError, "tokenizer.json");
  }, { tokenizer: false }));
