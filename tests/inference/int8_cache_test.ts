import { assert, assertEquals, assertLess } from "@std/assert";
import { KvCache } from "../../lib/model/kv_cache.ts";
import { BitNetConfig } from "../../lib/model/config.ts";
import { openCpu } from "../support/devices.ts";
import { Random } from "../support/random.ts";
import {
  CHAIN_VOCAB,
  chainTokens,
  decodedLogits,
  logitDistance,
  TRAINED_CONFIG,
  trainOnChain,
} from "./trained.ts";

Deno.test("a KV cache in 8 bits moves the logits of a trained model by little", () => {
  using device = openCpu();
  using model = trainOnChain(device, { steps: 80 });
  const ids = chainTokens(new Random(5), 256);
  const expected = decodedLogits(model, ids, "float32");
  const distance = logitDistance(decodedLogits(model, ids, "int8"), expected, CHAIN_VOCAB);
  assert(
    distance.size > 1,
    `logits of a root mean square of ${distance.size} have learned nothing`,
  );
  assert(distance.largestDifference > 0, "the cache was not in 8 bits");
  assertLess(distance.meanDifference, 0.03 * distance.size);
  assertLess(distance.meanKl, 3e-4);
  assertLess(0.97, distance.sameTop);
});

Deno.test("KvCache in 8 bits has a byte a value and a scale for each token's head", () => {
  const config = new BitNetConfig(TRAINED_CONFIG);
  const bytes = (dtype: "float32" | "int8") =>
    new KvCache(config, { sequences: 2, capacity: 100, dtype }).bytes - 64; // without start
  const values = 2 * 3 * 2 * 1 * 128 * 64; // k and v, layers, sequences, heads, slots, width
  assertEquals(bytes("float32"), 4 * values);
  assertEquals(bytes("int8"), values + 4 * values / 64);
});
