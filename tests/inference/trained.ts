/** A small model that has learned something, for tests of what options do to its answers. */

import type { Device } from "../../lib/ffi/device.ts";
import { BitNetConfig, type BitNetConfigOptions } from "../../lib/model/config.ts";
import { KvCache } from "../../lib/model/kv_cache.ts";
import { BitNetTransformer } from "../../lib/model/transformer.ts";
import { AdamW } from "../../lib/optim/adamw.ts";
import type { CacheDType } from "../../lib/tensor/dtype.ts";
import { Random } from "../support/random.ts";

/** Tokens of the chain of {@linkcode chainTokens}. */
export const CHAIN_VOCAB = 96;

/** Widths of the kernels with tiles: heads of 64. */
export const TRAINED_CONFIG: BitNetConfigOptions = {
  vocabSize: CHAIN_VOCAB,
  hiddenSize: 128,
  numLayers: 3,
  numHeads: 2,
  numKvHeads: 1,
  intermediateSize: 256,
  maxSeqLen: 320,
  initStd: 0.05,
};

/**
 * A chain in which one of two tokens follows each, the first of them mostly. Which two depends on whether the chain's first token is
 * even, so that all later ones have to attend to it.
 */
export function chainTokens(random: Random, count: number): Int32Array<ArrayBuffer> {
  const ids = new Int32Array(count);
  ids[0] = random.word() % CHAIN_VOCAB;
  for (let i = 1; i < count; i++) {
    const way = random.uniform() < 0.85 ? 0 : 1;
    ids[i] = successors[2 * (ids[0]! % 2) + way]![ids[i - 1]!]!;
  }
  return ids;
}

const successors = Array.from({ length: 4 }, (_, table) => {
  const random = new Random(100 + table);
  return Array.from({ length: CHAIN_VOCAB }, () => random.word() % CHAIN_VOCAB);
});

/** Trains on the chain for some steps. */
export function trainOnChain(device: Device, options: { steps: number }): BitNetTransformer {
  const random = new Random(17);
  const model = BitNetTransformer.create(new BitNetConfig(TRAINED_CONFIG), { device, seed: 3 });
  using optimizer = new AdamW(model.parameters).commit(device);
  for (let step = 0; step < options.steps; step++) {
    const ids = Array.from({ length: 8 }, () => chainTokens(random, 48));
    model.parameters.zeroGradients();
    model.forward(ids, { labels: ids });
    model.backward();
    optimizer.step({ lr: 4e-3 * (1 - step / options.steps), weightDecay: () => 0 });
    model.parametersChanged();
  }
  return model;
}

/** Logits (T, V) of a sequence that goes token by token over a cache. */
export function decodedLogits(
  model: BitNetTransformer,
  ids: Int32Array,
  dtype: CacheDType = model.dtype,
): Float32Array {
  const { vocabSize } = model.config;
  const all = new Float32Array(ids.length * vocabSize);
  using cache = new KvCache(model.config, { sequences: 1, capacity: ids.length, dtype })
    .commit(model.device);
  using pass = model.plan({ sequences: 1, tokens: 1, training: false, cache }).commit(model.device);
  for (const [t, id] of ids.entries()) {
    pass.ids.upload(Int32Array.of(id));
    pass.forward();
    pass.logitsOf(0, all.subarray(t * vocabSize, (t + 1) * vocabSize));
  }
  return all;
}

/** How far logits (T, V) are from others. */
export interface LogitDistance {
  readonly meanDifference: number;
  readonly largestDifference: number;
  /** Kullback-Leibler divergence of a token's distribution from the expected one, in nats. */
  readonly meanKl: number;
  readonly largestKl: number;
  /** Share of tokens whose likeliest next token is the same. */
  readonly sameTop: number;
  /** Root mean square of the expected logits. */
  readonly size: number;
}

export function logitDistance(
  actual: Float32Array,
  expected: Float32Array,
  vocabSize: number,
): LogitDistance {
  let [sum, largest, squares, klSum, klLargest, same] = [0, 0, 0, 0, 0, 0];
  const tokens = expected.length / vocabSize;
  for (let t = 0; t < tokens; t++) {
    const row = (values: Float32Array) =>
      Array.from(values.subarray(t * vocabSize, (t + 1) * vocabSize));
    const [a, b] = [row(actual), row(expected)];
    const [logA, logB] = [a, b].map((logits) => {
      const top = Math.max(...logits);
      const total = Math.log(logits.reduce((all, x) => all + Math.exp(x - top), 0)) + top;
      return logits.map((x) => x - total);
    });
    let kl = 0;
    for (let i = 0; i < vocabSize; i++) {
      const difference = Math.abs(a[i]! - b[i]!);
      sum += difference;
      largest = Math.max(largest, difference);
      squares += b[i]! ** 2;
      kl += Math.exp(logB![i]!) * (logB![i]! - logA![i]!);
    }
    klSum += kl;
    klLargest = Math.max(klLargest, kl);
    const top = (logits: number[]) => logits.indexOf(Math.max(...logits));
    same += Number(top(a) === top(b));
  }
  return {
    meanDifference: sum / expected.length,
    largestDifference: largest,
    meanKl: klSum / tokens,
    largestKl: klLargest,
    sameTop: same / tokens,
    size: Math.sqrt(squares / expected.length),
  };
}
