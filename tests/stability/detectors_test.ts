import { assertEquals } from "@std/assert";
import { addToEma, EMPTY_EMA } from "../../lib/stability/ema.ts";
import { robustScore } from "../../lib/stability/robust_window.ts";
import { judgesBeforeUpdate } from "../../lib/stability/options.ts";
import { of, random, simulate } from "./support.ts";

Deno.test("robustScore() counts robust deviations above the median of the others", () => {
  // Median 3, absolute deviations 2 1 0 1 2, their median 1.
  assertEquals(robustScore([1, 2, 3, 4, 5], 3 + 1.4826 * 7).score, 7);
  assertEquals(robustScore([1, 2, 4, 5], 3).median, 3);
});

Deno.test("robustScore() is not moved by an outlier that is in the window", () => {
  const clean = robustScore([1, 2, 3, 4, 5], 9).score;
  assertEquals(robustScore([1, 2, 3, 4, 5_000], 9).score, clean);
});

Deno.test("robustScore() takes 1% of the median for the deviation when the window is flat", () => {
  assertEquals(robustScore([2, 2, 2], 2.04).score, 2.0000000000000018);
});

const noisy = (seed: number) => {
  const noise = random(seed);
  return () => 3 + 0.2 * (noise() - 0.5);
};

Deno.test("judge() finds an outlier of the loss that its moving average lets pass", () => {
  const loss = noisy(5);
  const run = simulate({
    steps: 60,
    config: { onLossOutlier: "rollback" },
    trace: ({ batch }) => ({ loss: loss() + (batch === 30 ? 1.5 : 0) }),
  });
  assertEquals(of(run, "spike").map(({ detector, step }) => [detector, step]), [
    ["loss_outlier", 30],
  ]);
});

Deno.test("judge() finds an outlier of the grad norm", () => {
  const norm = noisy(6);
  const run = simulate({
    steps: 60,
    config: { onGradNormOutlier: "rollback" },
    trace: ({ batch }) => ({ gradNorm: norm() + (batch === 30 ? 20 : 0) }),
  });
  assertEquals(of(run, "spike").map(({ detector }) => detector), ["grad_norm_outlier"]);
});

Deno.test("judge() lets a loss pass that is far below the others", () => {
  const run = simulate({
    steps: 40,
    config: { onLossOutlier: "rollback" },
    trace: ({ step }) => ({ loss: step === 30 ? 0.1 : 3 }),
  });
  assertEquals(run.events, []);
});

Deno.test("addToEma() takes the first value as it is and mixes in the next", () => {
  const first = addToEma(EMPTY_EMA, 4, 0.75);
  assertEquals(first, { value: 4, count: 1 });
  assertEquals(addToEma(first, 8, 0.75), { value: 5, count: 2 });
});

Deno.test("judge() lets a window of half its size judge, and no smaller one", () => {
  for (const [step, found] of [[8, 0], [9, 1]] as const) {
    const run = simulate({
      steps: 20,
      config: { onLossOutlier: "rollback", onSpike: "off" },
      trace: ({ batch }) => ({ loss: batch === step ? 9 : 3 }),
    });
    assertEquals(of(run, "spike").length, found, `at step ${step}`);
  }
});

Deno.test("judge() takes outliers that go on for the new level", () => {
  const run = simulate({
    steps: 60,
    config: { onGradNormOutlier: "skip", onNonFinite: "skip" },
    // Left out as if they were judged before the update.
    trace: ({ step }) => ({ gradNorm: step < 30 ? 0.5 : 2 }),
    early: true,
  });
  assertEquals(of(run, "spike").map(({ step, answer }) => [step, answer]), [
    [30, "skip"],
    [31, "skip"],
    [32, "skip"],
  ]);
  assertEquals(of(run, "new_level"), [{
    event: "new_level",
    step: 33,
    detector: "grad_norm_outlier",
    from: 0.5,
    to: 2,
  }]);
});

Deno.test("judge() answers with the strongest of what its detectors ask for", () => {
  const run = simulate({
    steps: 40,
    config: { onLossOutlier: "stop", onSpike: "skip" },
    trace: ({ step }) => ({ loss: step === 30 ? 99 : 3 }),
    early: true,
  });
  assertEquals(run.stopped?.step, 30);
  assertEquals(of(run, "spike")[0]!.detector, "loss_outlier");
});

Deno.test("judgesBeforeUpdate() is true when a finite spike is to be left out", () => {
  const off = { onSpike: "rollback", onLossOutlier: "off", onGradNormOutlier: "stop" } as const;
  assertEquals(judgesBeforeUpdate(off), false);
  for (const key of ["onSpike", "onLossOutlier", "onGradNormOutlier"] as const) {
    assertEquals(judgesBeforeUpdate({ ...off, [key]: "skip" }), true);
  }
});
