/**
 * How fast a packed model with random weights decodes, to be measured beside tests/reference/torch_decode.py on the same card.
 *
 * Prints one JSON line a choice of head and cache. Milliseconds are medians of rounds:
 *   prefill_tok_per_s   a prompt of 512 tokens, in chunks of 256, its last logits read
 *   model_ms            a token of each sequence: pass, head and the likeliest id, without the host: launches only, one wait a round
 *   token_ms            the same with each token brought to the host and given back, as generation does it
 *   sampled_ms          token_ms with the 50 likeliest, sampled
 *
 *     deno run -A tests/inference/decode_bench.ts --size 1.3B --batch 1,8,16 --head int8,bfloat16 --cache default,int8
 *     deno run -A tests/inference/decode_bench.ts --device cpu --size small --head float32
 */

import { parseArgs } from "@std/cli";
import { decodeConfig, type DecodeSize, randomPackedModel } from "../../lib/bench/decode_model.ts";
import { quantile } from "../../lib/bench/measure.ts";
import { Device } from "../../lib/ffi/device.ts";
import type { DeviceKind } from "../../lib/ffi/library.ts";
import { Decoder } from "../../lib/inference/decoder.ts";
import type { HeadWeights } from "../../lib/inference/load_model.ts";
import { Sampler } from "../../lib/inference/sampler.ts";
import type { BitNetTransformer } from "../../lib/model/transformer.ts";
import type { CacheDType } from "../../lib/tensor/dtype.ts";

const NAMES = ["size", "device", "batch", "head", "cache", "context", "tokens", "rounds", "prompt"];
const flags: Partial<Record<string, string>> = Object(parseArgs(Deno.args, { string: NAMES }));
const size = (flags["size"] ?? "1.3B") as DecodeSize;
const heads = (flags["head"] ?? "int8").split(",") as HeadWeights[];
const caches = (flags["cache"] ?? "default").split(",");
const batches = (flags["batch"] ?? "1").split(",").map(Number);
const context = Number(flags["context"] ?? 512);
const promptTokens = Number(flags["prompt"] ?? 512);
const tokens = Number(flags["tokens"] ?? 64); // of a round
const rounds = Number(flags["rounds"] ?? 7);

using device = Device.open({ kind: (flags["device"] ?? "cuda") as DeviceKind });
const config = decodeConfig(size, { maxSeqLen: 4096 });
for (const head of heads) {
  const { model: made, projections } = randomPackedModel(device, config, head);
  using model = made;
  const projectionBytes = projections.flatMap(({ weights }) => weights)
    .reduce((sum, { packed, scale }) => sum + packed.bytes + scale.bytes, 0);
  for (const cache of caches) {
    for (const batch of batches) {
      const dtype = cache === "default" ? model.dtype : cache as CacheDType;
      const measured = measure(model, dtype, batch);
      console.log(JSON.stringify({
        framework: "titanbit",
        device: device.description.name,
        size,
        head,
        cache: dtype,
        batch,
        context,
        projections_mb: round(projectionBytes / 1e6, 1),
        ...measured,
        tokens_per_s: round(1000 * batch / measured.token_ms, 1),
      }));
    }
  }
}

function measure(model: BitNetTransformer, cacheDtype: CacheDType, sequences: number) {
  const capacity = Math.max(promptTokens, context + tokens) + 1;
  using decoder = new Decoder(model, { capacity, sequences, cacheDtype });
  const greedy = new Sampler(config.vocabSize, { temperature: 0 });
  const prompt = (length: number) =>
    Int32Array.from({ length }, (_, i) => (i * 7919) % config.vocabSize);
  const running = Array.from({ length: sequences }, (_, i) => i);
  const ids = new Int32Array(sequences);

  decoder.prepare(greedy, config.vocabSize);
  const prefill = repeat(() => {
    decoder.prefill(0, prompt(promptTokens));
    return promptTokens;
  });
  const read = () => {
    for (const sequence of running) decoder.prefill(sequence, prompt(context));
  };
  const generate = (sampler: Sampler) => {
    decoder.prepare(sampler, config.vocabSize);
    return repeat(() => {
      for (let token = 0; token < tokens; token++) {
        for (const sequence of running) ids[sequence] = decoder.choose(sequence, sampler);
        decoder.decode(ids, running);
      }
      return tokens;
    }, read);
  };
  const sampled = generate(new Sampler(config.vocabSize, { temperature: 0.8, topK: 50, seed: 1 }));
  const token = generate(greedy);
  const alone = repeat(() => {
    for (let i = 0; i < tokens; i++) decoder.replay();
    device.synchronize();
    return tokens;
  });
  return {
    prefill_tok_per_s: round(1000 / prefill, 0),
    model_ms: round(alone, 4),
    token_ms: round(token, 4),
    sampled_ms: round(sampled, 4),
    cache_mb: round(decoder.cacheBytes / 1e6, 1),
  };
}

/** Milliseconds of one of the tokens that `run` says it ran: the median round, after two that are not counted. */
function repeat(run: () => number, before: () => void = () => {}): number {
  const times: number[] = [];
  for (let i = 0; i < rounds + 2; i++) {
    before();
    device.synchronize();
    const started = performance.now();
    const count = run();
    device.synchronize();
    if (i >= 2) times.push((performance.now() - started) / count);
  }
  return quantile(times, 0.5);
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
