import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ConfigError } from "../../lib/config/errors.ts";
import { parseRunConfig } from "../../lib/config/load.ts";

function parse(...set: string[]) {
  const text = `
model: { size: 125M }
data: { train: train.tokens }
training: { steps: 4000, batch_sequences: 8 }
optimizer: { lr: 1e-3 }
`;
  return parseRunConfig(text, { file: "run.yaml", set });
}

Deno.test("parseRunConfig() fills every open key of stability", () => {
  assertEquals(parse().config.stability, {
    onNonFinite: "skip",
    onSpike: "rollback",
    spikeThreshold: 5,
    emaDecay: 0.99,
    warmupSteps: 100,
    onLossOutlier: "off",
    onGradNormOutlier: "off",
    outlierThreshold: 6,
    outlierWindow: 128,
    maxConsecutiveSkips: 5,
    snapshotEvery: 100,
    snapshots: 2,
    stableAfter: 50,
    skipExtraSteps: 0,
    lrFactor: 0.5,
    minLrFactor: 0.05,
    lrRampSteps: 200,
    maxRollbacks: 5,
    rollbackWindow: 1000,
  });
});

Deno.test("parseRunConfig() says why the ramp of a short run is shorter", () => {
  const { defaults } = parse();
  assertEquals(defaults.find(({ key }) => key === "stability.lr_ramp_steps"), {
    key: "stability.lr_ramp_steps",
    value: 200,
    reason: "a twentieth of the steps, at most 500",
  });
  assertEquals(parse("training.steps=90000").config.stability.lrRampSteps, 500);
});

Deno.test("parseRunConfig() takes every answer of a detector", () => {
  for (const answer of ["off", "skip", "rollback", "stop"]) {
    const { stability } = parse(`stability.on_grad_norm_outlier=${answer}`).config;
    assertEquals(stability.onGradNormOutlier, answer);
  }
});

for (
  const [set, expected] of [
    ["on_non_finite=off", 'expected one of skip, rollback, stop, got "off"'],
    ["on_spike=rolback", 'expected one of off, skip, rollback, stop, got "rolback", did you mean'],
    ["spike_threshold=1", "expected a number above 1, got 1"],
    ["ema_decay=1", "expected a number from 0 to 0.999999, got 1"],
    ["outlier_window=3", "expected a whole number of at least 4, got 3"],
    ["snapshots=1", "expected a whole number of at least 2, got 1"],
    ["lr_factor=0", "expected a number from 0.000001 to 1, got 0"],
    ["min_lr_factor=0.6", "expected at most stability.lr_factor (0.5), got 0.6"],
    ["spike_treshold=5", 'expected a key of stability, got "spike_treshold", did you mean'],
  ] as const
) {
  Deno.test(`parseRunConfig() refuses stability.${set}`, () => {
    const error = assertThrows(() => parse(`stability.${set}`), ConfigError);
    assertStringIncludes(error.message, expected);
  });
}
