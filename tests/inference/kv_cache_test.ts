import { assertEquals, assertThrows } from "@std/assert";
import { likeliest } from "../../lib/inference/sampler.ts";
import type { BitNetConfig } from "../../lib/model/config.ts";
import { KvCache } from "../../lib/model/kv_cache.ts";
import { BitNetTransformer } from "../../lib/model/transformer.ts";
import { assertClose, assertSameBits, largestMagnitude } from "../support/compare.ts";
import { openCpu } from "../support/devices.ts";
import { type Random, withRandom } from "../support/random.ts";
import { tinyConfig } from "./support.ts";

const CONFIGS: [string, BitNetConfig][] = [
  ["a key/value head a query head", tinyConfig({ numKvHeads: 4 })],
  ["grouped key/value heads", tinyConfig()],
  ["one key/value head", tinyConfig({ numKvHeads: 1 })],
  [
    "relu2, absmean activations and a head of its own",
    tinyConfig({
      hiddenAct: "relu2",
      activationQuant: "absmean",
      tieEmbeddings: false,
    }),
  ],
  ["no quantisation", tinyConfig({ quantization: "none" })],
];

/** Tokens of a sequence whose cached keys and values come in parts of these lengths; the logits of every token. */
function cachedLogits(
  model: BitNetTransformer,
  ids: Int32Array[],
  parts: readonly number[],
): Float32Array {
  const { vocabSize } = model.config;
  const tokens = ids[0]!.length;
  const all = new Float32Array(ids.length * tokens * vocabSize);
  const dtype = model.device.activationDtype;
  using cache = new KvCache(model.config, { sequences: ids.length, capacity: tokens + 3, dtype })
    .commit(model.device);
  let start = 0;
  for (const length of parts) {
    const shape = { sequences: ids.length, tokens: length, training: false };
    using pass = model.plan({ ...shape, cache }).commit(model.device);
    const rows = ids.flatMap((sequence) => [...sequence.subarray(start, start + length)]);
    pass.ids.upload(Int32Array.from(rows));
    pass.forward();
    for (let row = 0; row < rows.length; row++) {
      const sequence = Math.floor(row / length);
      const at = (sequence * tokens + start + row % length) * vocabSize;
      pass.logitsOf(row, all.subarray(at, at + vocabSize));
    }
    start += length;
  }
  assertEquals(start, tokens);
  return all;
}

function randomModel(config: BitNetConfig, random: Random): BitNetTransformer {
  return BitNetTransformer.create(config, {
    device: { kind: "cpu", threads: 1 },
    training: false,
    seed: random.word(),
  });
}

function randomIds(random: Random, options: { sequences: number; tokens: number }): Int32Array[] {
  return Array.from({ length: options.sequences }, () => random.int32s(options.tokens, 0, 100));
}

for (const [name, config] of CONFIGS) {
  // A value that lies between two of the quantiser's steps may go to either; that moves a logit by far more than rounding.
  const tolerance = config.quantization === "none" ? 2e-5 : 0.1;
  Deno.test(
    `Pass over a KV cache gives the full pass's logits, token by token, when the model has ${name}`,
    withRandom((random) => {
      using model = randomModel(config, random);
      const ids = randomIds(random, { sequences: 3, tokens: 23 });
      const expected = model.forward(ids).logits;
      const actual = cachedLogits(model, ids, new Array<number>(23).fill(1));
      const absolute = tolerance * largestMagnitude(expected);
      assertClose({ name: "logits", actual, expected, absolute });
    }),
  );

  Deno.test(
    `Pass over a KV cache gives the whole prompt's logits when it comes in parts and the model has ${name}`,
    withRandom((random) => {
      using model = randomModel(config, random);
      const ids = randomIds(random, { sequences: 2, tokens: 21 });
      const expected = cachedLogits(model, ids, [21]);
      const actual = cachedLogits(model, ids, [9, 9, 2, 1]);
      const absolute = tolerance * largestMagnitude(expected);
      assertClose({ name: "logits", actual, expected, absolute });
    }),
  );
}

Deno.test(
  "Pass over a KV cache chooses the full pass's tokens when a grouped-query model decodes greedily",
  withRandom((random) => {
    using model = randomModel(tinyConfig({ quantization: "none" }), random);
    const { vocabSize } = model.config;
    const ids = [3, 1, 4];
    const last = (logits: Float32Array) => likeliest(logits.subarray(logits.length - vocabSize));
    for (let i = 0; i < 30; i++) ids.push(last(model.forward(ids).logits));
    const logits = cachedLogits(model, [Int32Array.from(ids)], new Array<number>(33).fill(1));
    const chosen = Array.from(
      { length: 30 },
      (_, i) => likeliest(logits.subarray((i + 2) * vocabSize, (i + 3) * vocabSize)),
    );
    assertEquals(chosen, ids.slice(3));
  }),
);

Deno.test("KvCache forgets its tokens when it is reset", () => {
  using model = BitNetTransformer.create(tinyConfig(), { device: "cpu", training: false });
  const dtype = model.device.activationDtype;
  using cache = new KvCache(model.config, { sequences: 1, capacity: 5, dtype })
    .commit(model.device);
  using pass = model.plan({ sequences: 1, tokens: 5, training: false, cache })
    .commit(model.device);
  pass.ids.upload(Int32Array.of(1, 2, 3, 4, 5));
  pass.forward();
  const first = pass.logits();
  cache.reset();
  pass.forward();
  assertSameBits({ name: "logits", actual: pass.logits(), expected: first });
});

Deno.test("KvCache leaves every sequence as it was when one would outgrow the capacity", () => {
  using device = openCpu();
  const shape = { sequences: 3, capacity: 5, dtype: "float32" } as const;
  using cache = new KvCache(tinyConfig(), shape).commit(device);
  cache.advance(4, [1]);
  assertThrows(() => cache.advance(2), RangeError, "Cannot cache 6 tokens");
  assertEquals([0, 1, 2].map((index) => cache.length(index)), [0, 4, 0]);
  assertEquals([...cache.start.download(new Int32Array(3))], [0, 4, 0]);
});

Deno.test("KvCache refuses the index of a sequence that it does not hold", () => {
  using device = openCpu();
  const shape = { sequences: 2, capacity: 5, dtype: "float32" } as const;
  using cache = new KvCache(tinyConfig(), shape).commit(device);
  for (const index of [-1, 2, 0.5]) {
    const uses = [
      () => cache.sequence(index),
      () => cache.length(index),
      () => cache.reset(index),
      () => cache.advance(1, [index]),
    ];
    for (const use of uses) {
      assertThrows(use, RangeError, `from 0 to 1: current value is ${index}`);
    }
  }
});
