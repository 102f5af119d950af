/** Decoding on the card: against the CPU, against passes op by op, and several sequences against each alone. */

import { assert, assertEquals, assertLess } from "@std/assert";
import { dirname } from "@std/path";
import type { Device } from "../../lib/ffi/device.ts";
import { BatchGenerator } from "../../lib/inference/batch_generator.ts";
import { type GenerationOptions, TokenGenerator } from "../../lib/inference/generate.ts";
import { type HeadWeights, loadModel } from "../../lib/inference/load_model.ts";
import { Sampler } from "../../lib/inference/sampler.ts";
import { KvCache } from "../../lib/model/kv_cache.ts";
import type { BitNetTransformer } from "../../lib/model/transformer.ts";
import type { CacheDType } from "../../lib/tensor/dtype.ts";
import { assertSameBits } from "../support/compare.ts";
import { cudaTest, hasCuda, openCpu, openCuda } from "../support/devices.ts";
import { Random } from "../support/random.ts";
import { saveModel } from "./support.ts";
import {
  CHAIN_VOCAB,
  chainTokens,
  decodedLogits,
  logitDistance,
  TRAINED_CONFIG,
  trainOnChain,
} from "./trained.ts";

const GREEDY: GenerationOptions = { temperature: 0, maxTokens: 200 };
const CAPACITY = TRAINED_CONFIG.maxSeqLen!;

function generate(
  model: BitNetTransformer,
  prompt: Int32Array,
  options: GenerationOptions & { cacheDtype?: CacheDType } = GREEDY,
): number[] {
  const { cacheDtype } = options;
  using generator = new TokenGenerator(model, {
    capacity: CAPACITY,
    chunkTokens: 16,
    ...(cacheDtype !== undefined && { cacheDtype }),
  });
  return [...generator.generate(prompt, options)];
}

/** The folder of the trained model: one training for all tests. */
let trained: Promise<string> | null = null;

async function train(): Promise<string> {
  using cpu = openCpu();
  using model = trainOnChain(cpu, { steps: 100 });
  return await saveModel(await Deno.makeTempDir({ prefix: "titanbit_decode_" }), model);
}

Deno.test.afterAll(async () => {
  if (trained !== null) await Deno.remove(dirname(await trained), { recursive: true });
});

/** The trained model, loaded where it is asked for. */
async function withTrained(
  body: (load: (device: Device, head?: HeadWeights) => Promise<BitNetTransformer>) => Promise<void>,
): Promise<void> {
  const path = await (trained ??= train());
  using loaded = new DisposableStack();
  await body(async (device, head = "float32") =>
    loaded.use(await loadModel(path, { device, head })).model
  );
}

/** As {@linkcode cudaTest}, of the trained model. */
function trainedTest(
  name: string,
  body: (
    device: Device,
    load: (device: Device, head?: HeadWeights) => Promise<BitNetTransformer>,
  ) => Promise<void>,
): void {
  const found = hasCuda();
  Deno.test({
    name: found ? `cuda: ${name}` : `cuda: no device found, skipped: ${name}`,
    ignore: !found,
    fn: () =>
      withTrained(async (load) => {
        using device = openCuda();
        await body(device, load);
      }),
  });
}

/**
 * Holds greedy tokens of one model to another's. Where they part, the expected model's logits of both tokens may be no further apart
 * than twice what rounding has moved any logit of the tokens before, which are the same.
 */
function assertGreedyAgrees(
  actual: BitNetTransformer,
  expected: BitNetTransformer,
  prompt: Int32Array,
): void {
  const [here, there] = [generate(actual, prompt), generate(expected, prompt)];
  assertEquals([here.length, there.length], [200, 200]);
  const at = here.findIndex((id, i) => id !== there[i]);
  if (at < 0) return;
  const common = Int32Array.from([...prompt, ...there.slice(0, at)]);
  const ours = decodedLogits(actual, common), theirs = decodedLogits(expected, common);
  const last = (common.length - 1) * CHAIN_VOCAB;
  assert(last > 0, "the first token of all differs");
  let moved = 0;
  for (let i = 0; i < last; i++) moved = Math.max(moved, Math.abs(ours[i]! - theirs[i]!));
  const { size } = logitDistance(ours, theirs, CHAIN_VOCAB);
  assertLess(moved, size, "rounding to bfloat16 moves no logit that far");
  const gap = theirs[last + there[at]!]! - theirs[last + here[at]!]!;
  assert(
    Math.abs(gap) <= 2 * moved,
    `token ${at} is ${here[at]}, not ${
      there[at]
    }: their logits are ${gap} apart, rounding moves logits by ${moved} at most`,
  );
}

trainedTest("200 greedy tokens are the CPU's, but where two logits tie", async (device, load) => {
  using cpu = openCpu();
  const [here, there] = [await load(device), await load(cpu)];
  const random = new Random(31);
  for (let prompt = 0; prompt < 6; prompt++) {
    assertGreedyAgrees(here, there, chainTokens(random, 1 + 9 * prompt));
  }
});

/** Tokens by passes that run op by op, chosen from all logits. */
function generateByPasses(
  model: BitNetTransformer,
  prompt: Int32Array,
  options: GenerationOptions & { cacheDtype?: CacheDType },
): number[] {
  const sampler = new Sampler(CHAIN_VOCAB, options);
  const logits = new Float32Array(CHAIN_VOCAB);
  const dtype = options.cacheDtype ?? model.dtype;
  using cache = new KvCache(model.config, { sequences: 1, capacity: CAPACITY, dtype })
    .commit(model.device);
  const run = (ids: Int32Array<ArrayBuffer>) => {
    using pass = model.plan({ sequences: 1, tokens: ids.length, training: false, cache })
      .commit(model.device);
    pass.ids.upload(ids);
    pass.forward();
    pass.logitsOf(ids.length - 1, logits);
  };
  for (let from = 0; from < prompt.length; from += 16) {
    run(Int32Array.from(prompt.subarray(from, from + 16)));
  }
  const tokens: number[] = [];
  for (;;) {
    tokens.push(sampler.next(logits));
    if (tokens.length === options.maxTokens) return tokens;
    run(Int32Array.of(tokens.at(-1)!));
  }
}

const CHOICES: Record<string, GenerationOptions> = {
  "greedy": { temperature: 0, maxTokens: 60 },
  "sampled from the 20 likeliest": { temperature: 1.5, topK: 20, seed: 4, maxTokens: 60 },
  "sampled from all": { temperature: 1.5, topK: 0, seed: 4, maxTokens: 60 },
};

for (const head of ["float32", "bfloat16", "int8"] as const) {
  trainedTest(
    `recorded tokens are those of passes op by op when the head is ${head}`,
    async (device, load) => {
      const model = await load(device, head);
      const prompt = chainTokens(new Random(6), 37);
      for (const [name, options] of Object.entries(CHOICES)) {
        for (const cacheDtype of ["bfloat16", "int8"] as const) {
          const settings = { ...options, cacheDtype };
          const expected = generateByPasses(model, prompt, settings);
          assertEquals(generate(model, prompt, settings), expected, `${name}, ${cacheDtype}`);
        }
      }
    },
  );

  trainedTest(
    `several sequences at once have the tokens of each alone when the head is ${head}`,
    async (device, load) => {
      const model = await load(device, head);
      const random = new Random(7);
      const prompts = [1, 40, 16, 3, 100, 17, 2].map((length) => chainTokens(random, length));
      for (const options of Object.values(CHOICES)) {
        const alone = prompts.map((prompt) => generate(model, prompt, options));
        for (const sequences of [2, 5, 7]) {
          using generator = new BatchGenerator(model, {
            capacity: CAPACITY,
            chunkTokens: 16,
            sequences,
          });
          const tokens = prompts.map((): number[] => []);
          for (const { prompt, id } of generator.generate(prompts, options)) {
            tokens[prompt]!.push(id);
          }
          assertEquals(tokens, alone, `${sequences} sequences`);
        }
      }
    },
  );
}

trainedTest("a KV cache in 8 bits moves the logits by little", async (device, load) => {
  const model = await load(device);
  const ids = chainTokens(new Random(5), 256);
  const expected = decodedLogits(model, ids, "bfloat16");
  const distance = logitDistance(decodedLogits(model, ids, "int8"), expected, CHAIN_VOCAB);
  assert(distance.largestDifference > 0, "the cache was not in 8 bits");
  assertLess(distance.meanDifference, 0.03 * distance.size);
  assertLess(distance.meanKl, 1e-3);
  assertLess(0.97, distance.sameTop);
});

for (
  const variable of [
    "TITANBIT_NO_FUSED_MERGE",
    "TITANBIT_NO_FUSED_ROPE",
    "TITANBIT_NO_OVERLAP",
  ]
) {
  trainedTest(`decoding gives the same bits with ${variable}=1`, async (device, load) => {
    const ids = chainTokens(new Random(8), 300);
    const model = await load(device, "int8");
    const [logits, tokens] = [decodedLogits(model, ids), generate(model, ids.subarray(0, 90))];
    Deno.env.set(variable, "1");
    try {
      assertSameBits({ name: "logits", actual: decodedLogits(model, ids), expected: logits });
      assertEquals(generate(model, ids.subarray(0, 90)), tokens);
    } finally {
      Deno.env.delete(variable);
    }
  });
}

cudaTest("decoding leaves the same logits when it runs again", (device) => {
  using model = trainOnChain(device, { steps: 5 });
  const ids = chainTokens(new Random(9), 150);
  const first = decodedLogits(model, ids);
  for (let i = 0; i < 3; i++) {
    assertSameBits({ name: "logits", actual: decodedLogits(model, ids), expected: first });
  }
});
