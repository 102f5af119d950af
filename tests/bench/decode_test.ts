import { assert, assertEquals, assertThrows } from "@std/assert";
import { benchDecode, type DecodeRow } from "../../lib/bench/decode_bench.ts";
import { checkPacked, decodeConfig, randomPackedModel } from "../../lib/bench/decode_model.ts";
import { formatDecodeRows } from "../../lib/bench/decode_suite.ts";
import { cudaTest, openCpu } from "../support/devices.ts";

Deno.test("checkPacked() accepts the packed model of a shape", () => {
  using device = openCpu();
  checkPacked(device, "small");
});

Deno.test("checkPacked() throws naming the shape when packed products are wrong", () => {
  using device = openCpu();
  const call = device.symbols.tb_gemm_ternary_packed_forward;
  const symbols = {
    ...device.symbols,
    // One output fewer than asked for.
    tb_gemm_ternary_packed_forward: (...values: Parameters<typeof call>) => {
      values[9] = BigInt(values[9]) - 1n;
      return call(...values);
    },
  };
  Object.defineProperty(device, "symbols", { value: symbols });
  assertThrows(() => checkPacked(device, "small"), Error, "shape small differs");
});

Deno.test("randomPackedModel() writes codes from 0 to 2, in a sixteenth of float32's bytes", () => {
  using device = openCpu();
  const config = decodeConfig("small", { numLayers: 1, vocabSize: 64 });
  const { model, projections } = randomPackedModel(device, config, "int8");
  using _ = model;
  for (const { packed, inFeatures, outFeatures } of projections.flatMap(({ weights }) => weights)) {
    const codes = packed.download(new Uint8Array(packed.bytes));
    assertEquals(codes.findIndex((byte) => (byte & (byte >> 1) & 0x55) !== 0), -1);
    assertEquals(4 * inFeatures * outFeatures, 16 * codes.length);
  }
});

Deno.test("formatDecodeRows() gives a line in both tables to every row", () => {
  const rate = { median: 51.25, best: 120, spread: 0.05 };
  const row: DecodeRow = {
    size: "small",
    head: "int8",
    cache: "bfloat16",
    threads: 2,
    prefill_tok_per_s: rate,
    decode_empty_tok_per_s: rate,
    decode_512_tok_per_s: rate,
    bytes_a_token: { projections: 21.6e6, head: 24.7e6, cache: 19.5e6 },
    gbyte_per_s: 12,
    memory_gbyte_per_s: 24,
    share_of_memory: 0.5,
    us_a_token: { projections: 1500, head: 900, attention: 800, norms: 100, rest: 400 },
    float32_to_packed: 16,
  };
  const text = formatDecodeRows([row, row]);
  assertEquals(text.match(/^small, head int8, cache bfloat16, 2 threads/gm)?.length, 4);
  assertEquals(text.match(/51\.3 \(120\) ±5/g)?.length, 6);
  // A card has no threads, and no clock around ops.
  const card = formatDecodeRows([{ ...row, threads: null, us_a_token: null }]);
  assertEquals(card.match(/^small, head int8, cache bfloat16, card/gm)?.length, 2);
  assert(/19\.5 +- +- +- +- +- +16\.00$/.test(card), card);
});

cudaTest("checkPacked() accepts the packed model of a shape", (device) => {
  checkPacked(device, "small");
});

cudaTest("benchDecode() measures a whole packed model on the card", () => {
  const row = benchDecode({
    size: "small",
    head: "int8",
    cache: "bfloat16",
    threads: null,
    repeat: 1,
  });
  assertEquals([row.threads, row.us_a_token, row.float32_to_packed], [null, null, 16]);
  assert(row.decode_512_tok_per_s.median > 0 && row.prefill_tok_per_s.median > 0);
});
