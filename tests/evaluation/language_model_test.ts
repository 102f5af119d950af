import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { DataError } from "../../lib/data/errors.ts";
import { TokenDataset } from "../../lib/data/shards.ts";
import { LanguageModelEvaluator } from "../../lib/evaluation/language_model.ts";
import { TokenBytes } from "../../lib/evaluation/token_bytes.ts";
import type { BitNetTransformer } from "../../lib/model/transformer.ts";
import { writeTokens } from "../data/support.ts";
import { END_ID } from "../inference/support.ts";
import { byteTokenizer, datasetOf, withModel } from "./support.ts";

/** A stream of bytes with the ends of documents in between. */
function stream(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i % 13 === 12 ? END_ID : (7 * i * i + i) % 256);
}

/** Nats of token `position + 1` from those of its window, one forward pass a token, in FP64. */
function natsAt(
  model: BitNetTransformer,
  ids: readonly number[],
  place: { position: number; seqLen: number; stride: number },
): number {
  const { position, seqLen, stride } = place;
  const start = Math.max(0, Math.ceil((position + 1 - seqLen) / stride)) * stride;
  const { logits } = model.forward(ids.slice(start, position + 1));
  const last = Array.from(logits.subarray(logits.length - model.config.vocabSize));
  const top = Math.max(...last);
  const sum = last.reduce((total, logit) => total + Math.exp(logit - top), 0);
  return top + Math.log(sum) - last[ids[position + 1]!]!;
}

const CASES = [
  { count: 50, seqLen: 16, stride: 16, batchSize: 1 },
  { count: 50, seqLen: 16, stride: 16, batchSize: 3 },
  { count: 50, seqLen: 16, stride: 5, batchSize: 4 },
  { count: 50, seqLen: 16, stride: 1, batchSize: 2 },
  { count: 17, seqLen: 16, stride: 8, batchSize: 2 },
  { count: 9, seqLen: 16, stride: 8, batchSize: 2 },
  { count: 2, seqLen: 16, stride: 16, batchSize: 1 },
  { count: 40, seqLen: 1, stride: 1, batchSize: 7 },
];
for (const { count, seqLen, stride, batchSize } of CASES) {
  Deno.test(`LanguageModelEvaluator gives the loss of one pass a token when ${count} tokens go through windows of ${seqLen}, ${stride} apart, ${batchSize} at a time`, () =>
    withModel(({ model, device, folder }) => {
      const ids = stream(count);
      using dataset = datasetOf(ids, { device, folder });
      using evaluator = new LanguageModelEvaluator(model, { seqLen, batchSize });
      const { loss, tokens } = evaluator.run(dataset, { stride });
      let nats = 0;
      for (let position = 0; position + 1 < count; position++) {
        nats += natsAt(model, ids, { position, seqLen, stride });
      }
      assertEquals(tokens, count - 1);
      assertAlmostEquals(loss, nats / (count - 1), 2e-5);
    }));
}

Deno.test("LanguageModelEvaluator counts bytes and ends of documents apart when it has a tokenizer", () =>
  withModel(async ({ model, device, folder }) => {
    using tokenizer = await byteTokenizer();
    using dataset = datasetOf(stream(50), { device, folder });
    const tokenBytes = new TokenBytes(tokenizer);
    using evaluator = new LanguageModelEvaluator(model, { seqLen: 16, tokenBytes });
    const { loss, bitsPerByte, tokens, bytes, endTokens } = evaluator.run(dataset);
    assertEquals([tokens, bytes, endTokens], [49, 46, 3]);
    assertAlmostEquals(bitsPerByte!, 49 * loss / Math.LN2 / 46, 1e-9);
  }));

Deno.test("LanguageModelEvaluator says null bits per byte when nothing tells the bytes", () =>
  withModel(({ model, device, folder }) => {
    using dataset = datasetOf(stream(20), { device, folder });
    using evaluator = new LanguageModelEvaluator(model, { seqLen: 8 });
    const { bitsPerByte, bytes, endTokens } = evaluator.run(dataset);
    assertEquals([bitsPerByte, bytes, endTokens], [null, null, null]);
  }));

Deno.test("LanguageModelEvaluator scores the first tokens only when maxTokens ends inside a batch", () =>
  withModel(({ model, device, folder }) => {
    const ids = stream(50);
    using all = datasetOf(ids, { device, folder });
    using first = datasetOf(ids.slice(0, 24), { device, folder });
    using evaluator = new LanguageModelEvaluator(model, { seqLen: 16, batchSize: 3 });
    const limited = evaluator.run(all, { maxTokens: 23 });
    const { loss } = evaluator.run(first);
    assertEquals(limited.tokens, 23);
    assertAlmostEquals(limited.loss, loss, 1e-6);
  }));

Deno.test("LanguageModelEvaluator finds the same, but for rounding, whatever the number of windows of a batch", () =>
  withModel(({ model, device, folder }) => {
    using dataset = datasetOf(stream(60), { device, folder });
    for (const maxTokens of [40, 43, 59]) { // whole windows, part of one, the whole file
      const losses = [1, 2, 3, 4, 8].map((batchSize) => {
        using evaluator = new LanguageModelEvaluator(model, { seqLen: 8, batchSize });
        const { loss, tokens } = evaluator.run(dataset, { maxTokens });
        assertEquals(tokens, maxTokens);
        return loss;
      });
      // Products of few rows take a kernel of their own, which rounds otherwise.
      for (const loss of losses) assertAlmostEquals(loss, losses[0]!, 1e-6);
    }
  }));

Deno.test("LanguageModelEvaluator leaves out the first token of each file when there are several", () =>
  withModel(({ model, device, folder }) => {
    const paths = [10, 6].map((count) =>
      writeTokens(`${folder}/${count}.tokens`, { ids: stream(count), vocabSize: 257 })
    );
    using dataset = TokenDataset.open(paths, { library: device.library, vocabSize: 257 });
    using evaluator = new LanguageModelEvaluator(model, { seqLen: 4 });
    assertEquals(evaluator.run(dataset).tokens, 9 + 5);
  }));

Deno.test("LanguageModelEvaluator finds the same when it runs on a training pass of the caller's", () =>
  withModel(({ model, device, folder }) => {
    using dataset = datasetOf(stream(50), { device, folder });
    using pass = model.plan({ sequences: 2, tokens: 8, training: true }).commit(device);
    using borrowing = new LanguageModelEvaluator(model, { pass });
    using own = new LanguageModelEvaluator(model, { seqLen: 8, batchSize: 2 });
    assertEquals(borrowing.run(dataset).loss, own.run(dataset).loss);
  }));

Deno.test("LanguageModelEvaluator leaves the caller's pass alone when it is disposed of", () =>
  withModel(({ model, device, folder }) => {
    using dataset = datasetOf(stream(50), { device, folder });
    using pass = model.plan({ sequences: 2, tokens: 8, training: false }).commit(device);
    const first = new LanguageModelEvaluator(model, { pass });
    const { loss } = first.run(dataset);
    first[Symbol.dispose]();
    assertEquals(new LanguageModelEvaluator(model, { pass }).run(dataset).loss, loss);
  }));

Deno.test("LanguageModelEvaluator tells how far it is when a batch is done", () =>
  withModel(({ model, device, folder }) => {
    using dataset = datasetOf(stream(50), { device, folder });
    using evaluator = new LanguageModelEvaluator(model, { seqLen: 16, batchSize: 2 });
    const told: number[][] = [];
    const { loss } = evaluator.run(dataset, {
      onProgress: (progress) => told.push([progress.tokens, progress.totalTokens, progress.loss]),
    });
    assertEquals(told.map(([tokens, total]) => [tokens, total]), [[32, 49], [49, 49]]);
    assertEquals(told.at(-1)![2], loss);
  }));

Deno.test("LanguageModelEvaluator refuses data when it is a single token", () =>
  withModel(({ model, device, folder }) => {
    using dataset = datasetOf([5], { device, folder });
    using evaluator = new LanguageModelEvaluator(model, { seqLen: 4 });
    assertThrows(() => evaluator.run(dataset), DataError, "at least two tokens");
  }));

Deno.test("LanguageModelEvaluator refuses a pass when its shape is another", () =>
  withModel(({ model, device }) => {
    using pass = model.plan({ sequences: 2, tokens: 8, training: false }).commit(device);
    assertThrows(
      () => new LanguageModelEvaluator(model, { pass, seqLen: 9 }),
      RangeError,
      "current shape is (2, 8)",
    );
  }));

for (const [name, value] of [["seqLen", 0], ["batchSize", 1.5]] as const) {
  Deno.test(`LanguageModelEvaluator refuses to be made when ${name} is ${value}`, () =>
    withModel(({ model }) => {
      assertThrows(
        () => new LanguageModelEvaluator(model, { [name]: value }),
        RangeError,
        `${name} must be a whole number above 0: current value is ${value}`,
      );
    }));
}

for (const options of [{ stride: 5 }, { stride: 0 }, { maxTokens: 0 }, { maxTokens: -1 }]) {
  Deno.test(`LanguageModelEvaluator refuses to run windows of 4 when it is given ${JSON.stringify(options)}`, () =>
    withModel(({ model, device, folder }) => {
      using dataset = datasetOf(stream(20), { device, folder });
      using evaluator = new LanguageModelEvaluator(model, { seqLen: 4 });
      assertThrows(() => evaluator.run(dataset, options), RangeError, "current value is");
    }));
}
