import { assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { encodeRecord } from "../../lib/metrics/records.ts";
import { drawCurves } from "../../lib/report/loss_curves.ts";
import { parseCurve } from "./plot_curves.ts";

const METRICS = [
  encodeRecord({ type: "event", step: 0, event: "finished", message: "" }),
  ...[1, 2, 3].map((step) =>
    JSON.stringify({ type: "step", step, tokens: 100 * step, loss: 9 - step }) + "\n"
  ),
  JSON.stringify({ type: "validation", step: 3, tokens: 300, loss: 6.5 }) + "\n",
].join("");

Deno.test("parseCurve() reads steps and validations of metrics.jsonl, named by the run's folder", () => {
  const curve = parseCurve(METRICS, "checkpoints/tiny/metrics.jsonl");
  assertEquals(curve.name, "tiny");
  assertEquals(curve.points.map(({ tokens, loss }) => [tokens, loss]), [[100, 8], [200, 7], [
    300,
    6,
  ]]);
  assertEquals(curve.validation.length, 1);
});

Deno.test("parseCurve() reads the curves of loss_curve, tokens from the step", () => {
  const text = JSON.stringify({
    name: "a",
    tokens_per_step: 10,
    steps: [{ step: 2, loss: 3, grad_norm: 1 }],
  });
  assertEquals(parseCurve(text, "a.json").points, [{ step: 2, tokens: 20, loss: 3 }]);
});

Deno.test("parseCurve() refuses a file without losses", () => {
  assertThrows(() => parseCurve("", "empty.jsonl"), Error, "holds no losses");
});

Deno.test("drawCurves() writes numbers alone, whatever the options", () => {
  const curve = parseCurve(METRICS, "tiny/metrics.jsonl");
  for (const x of ["step", "tokens"] as const) {
    for (const logX of [false, true]) {
      const svg = drawCurves([curve, { ...curve, name: "a < b" }], {
        title: "T",
        x,
        logX,
        smooth: 3,
        difference: true,
        allowed: 0.5,
      });
      assertMatch(svg, /^<svg [^]*a &lt; b[^]*difference \(%\)[^]*<\/svg>\n$/);
      assertEquals(/NaN|Infinity|undefined|null/.test(svg), false);
      assertStringIncludes(svg, "loss (nats a token), means of 3 records");
    }
  }
});
