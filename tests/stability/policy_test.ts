import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { NEW_STABILITY_STATE } from "../../lib/stability/state.ts";
import { StabilityPolicy } from "../../lib/stability/policy.ts";
import { CONFIG, of, random, simulate, type TracePoint } from "./support.ts";

/** The loss of a run that learns: from `from` down to `to`, with some noise. */
function learning(from: number, to: number, seed = 7): (point: TracePoint) => { loss: number } {
  const noise = Array.from({ length: 4000 }, random(seed));
  return ({ step, taken }) => ({
    loss: to + (from - to) * Math.exp(-step / 60) + 0.1 * (noise[taken % 4000]! - 0.5),
  });
}

const ALL_ON = { onLossOutlier: "rollback", onGradNormOutlier: "rollback" } as const;

Deno.test("judge() says nothing when a run learns as it should", () => {
  const { events } = simulate({ steps: 400, trace: learning(10, 2), config: ALL_ON });
  assertEquals(events, []);
});

Deno.test("judge() says nothing when the loss drifts up slowly", () => {
  const noise = random(3);
  const { events } = simulate({
    steps: 600,
    config: ALL_ON,
    trace: ({ step }) => ({ loss: 2 + 0.01 * step + 0.2 * noise(), gradNorm: 1 + 0.01 * step }),
  });
  assertEquals(events, []);
});

Deno.test("judge() says nothing when the data changes and the loss is at another level", () => {
  const { events } = simulate({ steps: 200, trace: ({ step }) => ({ loss: step < 80 ? 1 : 4.5 }) });
  assertEquals(events, []);
});

Deno.test("judge() rolls back when a single loss is an outlier", () => {
  const run = simulate({
    steps: 40,
    trace: ({ step, taken }) => ({ loss: step === 23 && taken === 23 ? 15.1 : 3 }),
  });
  assertEquals(run.events.map(({ event, step }) => `${event} ${step}`), [
    "spike 23",
    "rollback 23",
    "recovered 25",
  ]);
  assertEquals(of(run, "spike"), [{
    event: "spike",
    step: 23,
    detector: "loss_ema",
    answer: "rollback",
    loss: 15.1,
    grad_norm: 0.5,
    reference: 3,
    score: 15.1 / 3,
    threshold: 5,
    consecutive_skips: 0,
  }]);
});

Deno.test("judge() lets a loss at the threshold pass", () => {
  const { events } = simulate({
    steps: 20,
    trace: ({ step }) => ({ loss: step === 10 ? 15 : 3 }),
    config: { emaDecay: 1 },
  });
  assertEquals(events, []);
});

Deno.test("rolledBack() goes to the newest stable snapshot and past the spike's data", () => {
  // Snapshots are at 15 and 20; at 23 the latter has only two calm steps.
  const run = simulate({ steps: 40, trace: ({ batch }) => ({ loss: batch === 23 ? 99 : 3 }) });
  assertEquals(of(run, "rollback"), [{
    event: "rollback",
    step: 23,
    to_step: 15,
    place: "memory",
    undone_steps: 8,
    window_from: 15 * 8,
    window_to: 23 * 8,
    lr_factor: 0.5,
    rollbacks: 1,
    max_rollbacks: 3,
  }]);
  assertEquals(run.path.map(({ batch }) => batch).slice(13, 18), [14, 15, 24, 25, 26]);
  assertEquals(run.state.skippedData, [{ from: 120, to: 184 }]);
  assertEquals(run.state.undone, 8);
  assertEquals(run.state.furthest, 23);
});

Deno.test("rolledBack() leaves out more data when skipExtraSteps says so", () => {
  const run = simulate({
    steps: 40,
    trace: ({ batch }) => ({ loss: batch === 23 || batch === 25 ? 99 : 3 }),
    config: { skipExtraSteps: 3 },
  });
  assertEquals(of(run, "rollback").length, 1);
  assertEquals(run.path[15]!.batch, 27);
});

Deno.test("judge() skips at once when the loss is NaN, in the first step too", () => {
  const { events } = simulate({
    steps: 10,
    trace: ({ step }) => step === 1 || step === 7 ? { loss: NaN, gradNorm: NaN } : {},
  });
  assertEquals(
    events.map((event) => event.event === "spike" && [event.step, event.detector, event.answer]),
    [[1, "non_finite", "skip"], [7, "non_finite", "skip"]],
  );
});

Deno.test("judge() undoes a step when its loss is infinite but the weights have moved", () => {
  const run = simulate({
    steps: 20,
    trace: ({ batch }) => batch === 12 ? { loss: Infinity, gradNorm: 1 } : {},
  });
  assertEquals(of(run, "spike").map(({ answer }) => answer), ["rollback"]);
  assertEquals(run.path.length, 20);
});

Deno.test("judge() leaves a step out when its loss alone is NaN and the weights have not moved", () => {
  const policy = new StabilityPolicy({ ...CONFIG, windowsPerStep: 1 });
  const step = { step: 1, window: 1, loss: NaN, gradNorm: 1, applied: false };
  assertEquals(policy.judge(step).action, "skip");
});

Deno.test("judge() keeps what is not finite out of what it judges by", () => {
  const policy = new StabilityPolicy({ ...CONFIG, ...ALL_ON, windowsPerStep: 1 });
  const before = policy.state.detectors;
  policy.judge({ step: 1, window: 1, loss: NaN, gradNorm: NaN, applied: false });
  assertEquals(policy.state.detectors, before);
});

Deno.test("judge() keeps a spike out of what it judges by", () => {
  const policy = new StabilityPolicy({ ...CONFIG, ...ALL_ON, windowsPerStep: 1, warmupSteps: 1 });
  policy.judge({ step: 1, window: 1, loss: 2, gradNorm: 1, applied: true });
  const before = policy.state.detectors;
  policy.judge({ step: 2, window: 2, loss: 50, gradNorm: 1, applied: true });
  assertEquals(policy.state.detectors, before);
});

Deno.test("judge() rolls back when more steps in a row are not finite than may be left out", () => {
  const run = simulate({
    steps: 30,
    trace: ({ batch }) => batch >= 12 && batch <= 15 ? { loss: NaN, gradNorm: NaN } : {},
  });
  assertEquals(
    of(run, "spike").map(({ answer, consecutive_skips }) => [answer, consecutive_skips]),
    [
      ["skip", 1],
      ["skip", 2],
      ["skip", 3],
      ["rollback", 3],
    ],
  );
  assertEquals(run.path.length, 30);
});

Deno.test("judge() counts skips anew when a good step comes between", () => {
  const run = simulate({
    steps: 30,
    trace: ({ batch }) => batch % 4 !== 0 ? { loss: NaN, gradNorm: NaN } : {},
  });
  assertEquals(of(run, "rollback"), []);
});

Deno.test("judge() stops at the first step that is not finite when onNonFinite is stop", () => {
  const run = simulate({
    steps: 30,
    config: { onNonFinite: "stop" },
    trace: ({ step }) => step === 12 ? { gradNorm: Infinity } : {},
  });
  assertEquals(run.stopped?.step, 12);
  assertEquals(run.stopped!.candidates[0]!.step, 5);
});

Deno.test("judge() says nothing of a spike during its warm-up", () => {
  const run = simulate({
    steps: 12,
    config: { warmupSteps: 8 },
    trace: ({ step }) => ({ loss: step === 8 ? 99 : 3 }),
  });
  assertEquals(run.events, []);
});

Deno.test("judge() goes back to the beginning when a spike comes before the first snapshot", () => {
  const run = simulate({
    steps: 12,
    config: { warmupSteps: 2, snapshotEvery: 10 },
    trace: ({ batch }) => ({ loss: batch === 4 ? 99 : 3 }),
  });
  assertEquals(of(run, "rollback").map(({ to_step }) => to_step), [0]);
  assertEquals(run.path.length, 12);
});

Deno.test("judge() stops when there is no snapshot to go back to", () => {
  const policy = new StabilityPolicy({ ...CONFIG, windowsPerStep: 1, onNonFinite: "rollback" });
  const decision = policy.judge({ step: 1, window: 1, loss: NaN, gradNorm: NaN, applied: false });
  assertEquals(decision.action, "stop");
  assertEquals(decision.events.at(-1), {
    event: "gave_up",
    step: 1,
    reason: "loss NaN, grad norm NaN: not finite with no snapshot to go back to",
    rollbacks: 0,
  });
});

Deno.test("judge() rolls back again when a spike comes just after a recovery began", () => {
  const run = simulate({
    steps: 40,
    trace: ({ batch }) => ({ loss: batch === 23 || batch === 25 ? 99 : 3 }),
  });
  assertEquals(of(run, "rollback").map((e) => [e.step, e.to_step, e.window_from, e.window_to]), [
    [23, 15, 15 * 8, 23 * 8],
    [17, 15, 23 * 8, 25 * 8],
  ]);
  assertEquals(run.state.skippedData, [{ from: 15 * 8, to: 25 * 8 }]);
});

Deno.test("judge() prefers an older snapshot when one has failed twice", () => {
  const run = simulate({
    steps: 40,
    config: { snapshots: 3 },
    trace: ({ batch }) => ({ loss: [23, 25, 27].includes(batch) ? 99 : 3 }),
  });
  assertEquals(of(run, "rollback").map(({ to_step }) => to_step), [15, 15, 10]);
});

Deno.test("judge() stops when spikes go on beyond maxRollbacks", () => {
  const run = simulate({ steps: 60, trace: ({ step }) => ({ loss: step === 23 ? 99 : 3 }) });
  assertEquals(of(run, "rollback").map(({ rollbacks }) => rollbacks), [1, 2, 3, 3]);
  assertEquals(of(run, "spike").map(({ answer }) => answer), [
    "rollback",
    "rollback",
    "rollback",
    "stop",
  ]);
  assertEquals(run.stopped!.reason.endsWith("above 5 after 3 rollbacks within 100 steps"), true);
  assertEquals(of(run, "gave_up").length, 1);
  assertEquals(run.state.rollbacks, [], "a resumed run may roll back again");
});

Deno.test("judge() goes on when rollbacks are further apart than the window", () => {
  const run = simulate({
    steps: 400,
    config: { rollbackWindow: 50 },
    trace: ({ batch }) => ({ loss: batch % 40 === 30 ? 99 : 3 }),
  });
  assertEquals(run.stopped, null);
  assert(of(run, "rollback").length > 6);
  assert(of(run, "rollback").every(({ rollbacks }) => rollbacks <= 2));
  assertEquals(run.state.skippedData.length, of(run, "rollback").length);
  assertEquals(run.state.rollbackCount, of(run, "rollback").length);
});

Deno.test("lrFactor() goes back up over the ramp's calm steps", () => {
  const run = simulate({ steps: 40, trace: ({ batch }) => ({ loss: batch === 23 ? 99 : 3 }) });
  const factors = run.path.map(({ lr }) => lr);
  assertEquals(factors.slice(0, 15), new Array(15).fill(1));
  for (let calm = 0; calm < 10; calm++) {
    assertAlmostEquals(factors[15 + calm]!, 0.5 + 0.05 * calm, 1e-12);
  }
  assertEquals(factors.slice(25), new Array(15).fill(1));
});

Deno.test("lrFactor() stays low when there is no ramp", () => {
  const run = simulate({
    steps: 100,
    config: { lrRampSteps: 0 },
    trace: ({ batch }) => ({ loss: batch === 23 ? 99 : 3 }),
  });
  assertEquals(run.path.at(-1)!.lr, 0.5);
  assertEquals(of(run, "recovered"), []);
});

Deno.test("lrFactor() compounds down to its floor", () => {
  const run = simulate({
    steps: 60,
    config: { lrRampSteps: 0, maxRollbacks: 99 },
    trace: ({ batch }) => ({ loss: [23, 25, 27, 29, 31].includes(batch) ? 99 : 3 }),
  });
  assertEquals(of(run, "rollback").map(({ lr_factor }) => lr_factor), [
    0.5,
    0.25,
    0.125,
    0.1,
    0.1,
  ]);
});

Deno.test("lrFactor() is untouched when lrFactor is 1", () => {
  const run = simulate({
    steps: 40,
    config: { lrFactor: 1 },
    trace: ({ batch }) => ({ loss: batch === 23 ? 99 : 3 }),
  });
  assertEquals(run.path.every(({ lr }) => lr === 1), true);
});

Deno.test("judge() leaves a finite step out when its weights have not moved yet", () => {
  const policy = new StabilityPolicy({
    ...CONFIG,
    windowsPerStep: 1,
    warmupSteps: 1,
    onSpike: "skip",
  });
  policy.addSnapshot({ step: 0, tokens: 0, updates: 0, skipped: 0, window: 0 });
  policy.judge({ step: 1, window: 1, loss: 2, gradNorm: 1, applied: true });
  const spike = { step: 2, window: 2, loss: 50, gradNorm: 1 };
  assertEquals(policy.judge({ ...spike, applied: false }).action, "skip");
  assertEquals(policy.judge({ ...spike, applied: true }).action, "rollback");
});

Deno.test("judge() decides the same when results come late", () => {
  const trace = ({ step, batch }: TracePoint) => ({
    loss: [23, 41, 58, 61].includes(batch) ? 99 : 3,
    ...(batch === 35 && { loss: NaN, gradNorm: NaN }),
    ...(step === 50 && batch < 100 && { loss: 2 }),
  });
  const options = { steps: 90, trace, config: { maxRollbacks: 9 } };
  const atOnce = simulate(options);
  assertEquals(of(atOnce, "rollback").length, 4);
  for (const capacity of [2, 3, 5]) {
    const late = simulate({ ...options, capacity });
    assertEquals(late.events, atOnce.events);
    assertEquals(late.state, atOnce.state);
    assertEquals(late.path, atOnce.path);
  }
});

/** Everything at once: NaN, spikes, outliers, many in a row, and a level that changes. */
const STORM = {
  steps: 150,
  config: { onLossOutlier: "rollback", onGradNormOutlier: "rollback", maxRollbacks: 20 },
  trace: ({ batch, taken }: TracePoint) => ({
    loss: [23, 25, 27, 70].includes(batch) ? 99 : batch === 90 ? 4.5 : 3 + 0.01 * (taken % 3),
    gradNorm: batch === 110 ? 9 : 0.5 + 0.01 * (taken % 5),
    ...(batch >= 50 && batch < 56 && { loss: NaN, gradNorm: NaN }),
  }),
} as const;

Deno.test("judge() decides the same when its state went through JSON before every step", () => {
  const straight = simulate(STORM);
  assertEquals(of(straight, "rollback").length, 7);
  assertEquals(simulate({ ...STORM, restored: true }), straight);
});

Deno.test("judge() decides the same when the process is killed at any step and resumed", () => {
  const options = { ...STORM, checkpointEvery: 10 };
  const straight = simulate(options);
  assert(of(straight, "rollback").length >= 7);
  const taken = straight.path.length + straight.state.undone;
  for (let kill = 1; kill <= taken; kill++) {
    assertEquals(simulate({ ...options, killedAt: [kill] }), straight, `killed at ${kill}`);
  }
});

Deno.test("stateOfCheckpoint() lets snapshots in memory go and keeps the stable checkpoint", () => {
  const run = simulate({ steps: 42, trace: () => ({}), checkpointEvery: 20 });
  assertEquals(
    run.state.snapshots.map(({ step, disk }) => [step, disk]),
    [[20, true], [40, true]],
  );
});

Deno.test("judge() goes to the checkpoint before when the newest one is not stable", () => {
  const run = simulate({
    steps: 60,
    checkpointEvery: 20,
    trace: ({ batch }) => ({ loss: batch === 42 ? 99 : 3 }),
  });
  assertEquals(of(run, "rollback").map(({ to_step, place }) => [to_step, place]), [[20, "disk"]]);
});

Deno.test("judge() forgets what it judged by in steps that are undone", () => {
  const run = simulate({ steps: 23, trace: ({ batch }) => ({ loss: batch === 23 ? 99 : 3 }) });
  assertEquals(run.state.detectors.lossEma.count, 23);
});

Deno.test("wantsSnapshot() is never true when there are to be none", () => {
  const policy = new StabilityPolicy({ ...CONFIG, snapshotEvery: 0, windowsPerStep: 1 });
  assertEquals([0, 5, 10].map((step) => policy.wantsSnapshot(step)), [false, false, false]);
});

Deno.test("state begins as a run that nothing has happened to", () => {
  assertEquals(new StabilityPolicy({ ...CONFIG, windowsPerStep: 1 }).state, NEW_STABILITY_STATE);
});
