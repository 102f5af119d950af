import { assertAlmostEquals, assertEquals } from "@std/assert";
import { BitNetConfig, type BitNetConfigOptions } from "../../lib/model/config.ts";
import {
  chinchillaTokens,
  countParameters,
  decodeFlopsPerToken,
  packedInferenceBytes,
  trainingFlopsPerToken,
} from "../../lib/model/flops.ts";

/** D = 8, H = 4, E = 2, G = 2, F = 12, L = 3, V = 10: small enough to count by hand. */
function tiny(change: Partial<BitNetConfigOptions> = {}): BitNetConfig {
  return new BitNetConfig({
    vocabSize: 10,
    hiddenSize: 8,
    numLayers: 3,
    numHeads: 4,
    numKvHeads: 2,
    intermediateSize: 12,
    ...change,
  });
}

const MATRICES = [[8, 8], [4, 8], [4, 8], [8, 8], [12, 8], [12, 8], [8, 12]] as const; // q k v o gate up down

Deno.test("countParameters() counts each part of a model with grouped key/value heads", () => {
  const counts = countParameters(tiny());
  assertEquals(
    [counts.embedding, counts.attention, counts.mlp, counts.norms, counts.head],
    [80, 3 * (64 + 32 + 32 + 64), 3 * 3 * 96, 3 * (8 + 8 + 8 + 12) + 8, 0],
  );
  assertEquals(counts.total, 80 + 576 + 864 + 116);
  assertEquals(
    counts.ternary,
    MATRICES.reduce((sum, [rows, columns]) => sum + 3 * rows * columns, 0),
  );
  assertAlmostEquals(counts.ternaryShare, 1440 / 1636, 1e-15);
});

Deno.test("countParameters() adds a head when it isn't tied and has nothing ternary without quantisation", () => {
  assertEquals(countParameters(tiny({ tieEmbeddings: false })).head, 80);
  assertEquals(countParameters(tiny({ quantization: "none" })).ternary, 0);
});

Deno.test("trainingFlopsPerToken() agrees with counting every product of a sequence", () => {
  const config = tiny();
  const seqLen = 5;
  let projections = 0; // multiply-adds of a whole sequence
  for (const [rows, columns] of MATRICES) projections += 3 * seqLen * rows * columns;
  let scores = 0;
  for (let query = 0; query < seqLen; query++) {
    for (let key = 0; key <= query; key++) scores += 3 * 4 * (2 + 2); // layers, heads, q·k and p·v
  }
  const head = seqLen * 10 * 8;
  const flops = trainingFlopsPerToken(config, seqLen);
  assertEquals(flops.forward.int8 * seqLen, 2 * projections);
  assertAlmostEquals(flops.forward.bf16 * seqLen, 2 * (scores + head), 1e-9);
  assertAlmostEquals(flops.backward.bf16 * seqLen, 4 * (projections + scores + head), 1e-9);
  assertAlmostEquals(flops.total * seqLen, 6 * (projections + scores + head), 1e-9);
});

Deno.test("trainingFlopsPerToken() has no int8 part without quantisation, and the same sum", () => {
  const ternary = trainingFlopsPerToken(tiny(), 16);
  const plain = trainingFlopsPerToken(tiny({ quantization: "none" }), 16);
  assertEquals([plain.forward.int8, plain.total], [0, ternary.total]);
});

Deno.test("decodeFlopsPerToken() is a forward pass of the last token of a sequence", () => {
  const config = tiny();
  const { int8, bf16 } = decodeFlopsPerToken(config, 4);
  assertEquals([int8, bf16], [2 * 1440, 2 * (80 + 3 * 4 * (2 + 2) * 5)]);
});

Deno.test("packedInferenceBytes() packs 16 weights an int32 and rounds rows up", () => {
  const { ternary, dense, norms, total } = packedInferenceBytes(tiny());
  // every row of 8 or 12 weights takes one int32: 8 + 4 + 4 + 8 + 12 + 12 + 8 rows, and 7 scales, 3 layers
  assertEquals([ternary, dense, norms], [3 * (56 * 4 + 7 * 4), 80 * 2, 116 * 4]);
  assertEquals(total, ternary + dense + norms);
});

Deno.test("packedInferenceBytes() keeps every matrix in 16 bits without quantisation", () => {
  const { ternary, dense } = packedInferenceBytes(tiny({ quantization: "none" }));
  assertEquals([ternary, dense], [0, 2 * (80 + 1440)]);
});

Deno.test("chinchillaTokens() is 20 tokens a parameter", () => {
  assertEquals(chinchillaTokens(tiny()), 20 * 1636);
});
