import { assertAlmostEquals, assertEquals } from "@std/assert";
import { mfuBf16, mfuMixed } from "../../lib/metrics/mfu.ts";

const PEAK = { card: "test", bf16: 100, int8: 200, fp8: null };

Deno.test("mfuBf16() puts all FLOPs over the bfloat16 peak", () => {
  assertAlmostEquals(mfuBf16({ int8: 2, bf16: 4 }, { tokensPerS: 10, peak: PEAK })!, 0.6, 1e-12);
});

Deno.test("mfuMixed() puts each kind over its own peak", () => {
  assertAlmostEquals(mfuMixed({ int8: 2, bf16: 4 }, { tokensPerS: 10, peak: PEAK })!, 0.5, 1e-12);
});

Deno.test("mfuBf16() and mfuMixed() are null when the card isn't known", () => {
  const run = { tokensPerS: 10, peak: null };
  assertEquals([mfuBf16({ int8: 1, bf16: 1 }, run), mfuMixed({ int8: 1, bf16: 1 }, run)], [
    null,
    null,
  ]);
});

Deno.test("mfuMixed() is null when int8 is used and its peak isn't known, and a number when it isn't used", () => {
  const run = { tokensPerS: 10, peak: { ...PEAK, int8: null } };
  assertEquals([mfuMixed({ int8: 1, bf16: 1 }, run), mfuMixed({ int8: 0, bf16: 1 }, run)], [
    null,
    0.1,
  ]);
});
