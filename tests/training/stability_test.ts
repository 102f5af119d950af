/** The whole loop with faults made on purpose: what is undone, what it ends in. */

import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertLess,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { join } from "@std/path";
import type { RunConfig } from "../../lib/config/run_config.ts";
import type {
  MetricsRecord,
  RollbackEvent,
  StabilityRecord,
  ValidationRecord,
} from "../../lib/metrics/records.ts";
import type { LoopState } from "../../lib/training/loop_state.ts";
import { DivergedError } from "../../lib/stability/diverged_error.ts";
import type { Fault } from "../../lib/stability/faults.ts";
import { Trainer, type TrainerOptions } from "../../lib/training/trainer.ts";
import { recorder, spikesOf, tensorsOf, tinyRun } from "./support.ts";

/** Small enough for runs of some ten steps. */
const SET = [
  "training.eval_every=0",
  "stability.warmup_steps=4",
  "stability.snapshot_every=5",
  "stability.stable_after=3",
  "stability.lr_ramp_steps=5",
  "checkpoint.every_steps=0",
];

function fault(kind: Fault["kind"], steps: number[], change: Partial<Fault> = {}): Fault {
  return { kind, steps, repeat: "once", factor: 50, ms: 1, ...change };
}

async function train(
  config: RunConfig,
  options: Partial<TrainerOptions> & { stopWhen?: (state: LoopState) => boolean } = {},
) {
  const observer = recorder();
  const { stopWhen = () => false, ...rest } = options;
  using trainer = await Trainer.open(config, { observer, version: "test", ...rest });
  const result = await trainer.run({ shouldStop: () => stopWhen(trainer.state) });
  return { ...observer, result, rollbacks: observer.records.filter(isRollback) };
}

type RollbackRecord = StabilityRecord & RollbackEvent;

function isRollback(record: MetricsRecord): record is RollbackRecord {
  return record.type === "stability" && record.event === "rollback";
}

/** Step, learning rate and loss of each record of a step. */
function ratesOf(records: readonly MetricsRecord[]): [step: number, lr: number, loss: number][] {
  return records.flatMap((one) => one.type === "step" ? [[one.step, one.lr, one.loss]] : []);
}

/** Whether a run is at a step, before or after its first rollback. */
const at = (step: number, options: { undone: boolean } = { undone: false }) => (state: LoopState) =>
  state.step === step && (state.stability.undone > 0) === options.undone;

Deno.test("run() changes no bit of a healthy run when snapshots are taken", async () => {
  await using run = await tinyRun();
  const with_ = await train(run.config(...SET, "checkpoint.run=with"));
  const without = await train(
    run.config(...SET, "checkpoint.run=without", "stability.snapshot_every=0"),
  );
  assertEquals(spikesOf(with_.records), []);
  assertEquals(
    await tensorsOf(with_.result.checkpoint!),
    await tensorsOf(without.result.checkpoint!),
  );
});

Deno.test("run() brings back the bits of a snapshot, and goes on with other data", async () => {
  await using run = await tinyRun();
  const clean = await train(run.config(...SET, "training.steps=10", "checkpoint.run=clean"), {
    stopWhen: at(5),
  });
  const config = run.config(...SET, "training.steps=10", "checkpoint.keep_last=9");
  const { rollbacks, result, records } = await train(config, { faults: [fault("loss", [9])] });
  assertEquals(rollbacks, [{
    type: "stability",
    event: "rollback",
    step: 9,
    to_step: 5,
    place: "memory",
    undone_steps: 4,
    window_from: 40,
    window_to: 72,
    lr_factor: 0.5,
    rollbacks: 1,
    max_rollbacks: 5,
  }]);
  assertEquals(
    await tensorsOf(join(run.run, "step_0000005")),
    await tensorsOf(clean.result.checkpoint!),
  );
  assertEquals(result.state.step, 10);
  assertEquals(result.state.tokens, 10 * 8 * 32);
  assertEquals(result.state.updates, 10);
  assertEquals(result.state.sampler.position, (10 + 4) * 8);
  const rates = ratesOf(records);
  assertEquals(rates.map(([step]) => step), [1, 2, 3, 4, 5, 6, 7, 8, 6, 7, 8, 9, 10]);
  assertEquals(rates[8]![1], rates[5]![1]! / 2);
});

Deno.test("run() ends in the same bits when its snapshots were in memory or on disk", async () => {
  await using run = await tinyRun();
  const faults = [fault("loss", [13])];
  const memory = await train(run.config(...SET, "checkpoint.run=memory"), { faults });
  const disk = await train(
    run.config(
      ...SET,
      "checkpoint.run=disk",
      "stability.snapshot_every=0",
      "checkpoint.every_steps=5",
    ),
    { faults },
  );
  assertEquals(memory.rollbacks.map(({ place, to_step }) => [place, to_step]), [["memory", 5]]);
  assertEquals(disk.rollbacks.map(({ place, to_step }) => [place, to_step]), [["disk", 5]]);
  assertEquals(
    await tensorsOf(memory.result.checkpoint!),
    await tensorsOf(disk.result.checkpoint!),
  );
});

Deno.test("run() ends in the same bits when results come late", async () => {
  await using run = await tinyRun();
  const faults = [
    fault("loss", [8, 21]),
    fault("nan_gradient", [12]),
    fault("inf_loss", [27]),
    fault("corrupt_batch", [18, 24]),
  ];
  const set = [...SET, "training.steps=40", "logging.every_steps=8", "stability.max_rollbacks=9"];
  const atOnce = await train(run.config(...set, "checkpoint.run=once"), { faults });
  const late = await train(run.config(...set, "checkpoint.run=late"), { faults, maxQueued: 8 });
  assertEquals(atOnce.rollbacks.length, 3);
  assertEquals(late.rollbacks, atOnce.rollbacks);
  assertEquals(late.result.state, atOnce.result.state);
  assertEquals(
    await tensorsOf(late.result.checkpoint!),
    await tensorsOf(atOnce.result.checkpoint!),
  );
});

Deno.test("run() goes back to the beginning when a spike comes before the first snapshot", async () => {
  await using run = await tinyRun();
  const config = run.config(...SET, "stability.snapshot_every=50");
  const { rollbacks, result } = await train(config, { faults: [fault("loss", [6])] });
  assertEquals(rollbacks.map(({ to_step, place }) => [to_step, place]), [[0, "memory"]]);
  assertEquals([result.ended, result.state.updates], ["finished", 20]);
});

Deno.test("run() leaves losses of undone steps out of its records", async () => {
  await using run = await tinyRun();
  const faults = [fault("loss", [9])];
  const set = [...SET, "training.steps=12"];
  const each = await train(run.config(...set, "checkpoint.run=each"), { faults });
  const some = await train(run.config(...set, "logging.every_steps=12"), { faults });
  // Back at step 5, so that steps 6 to 12 count.
  const losses = ratesOf(each.records).slice(-7).map(([, , loss]) => loss);
  assertAlmostEquals(
    ratesOf(some.records).at(-1)![2],
    losses.reduce((sum, loss) => sum + loss) / 7,
    1e-12,
  );
});

Deno.test("run() goes on in the middle of a recovery when it was interrupted there", async () => {
  await using run = await tinyRun();
  const faults = [fault("loss", [9]), fault("nan_gradient", [10])];
  const straight = await train(run.config(...SET, "checkpoint.run=straight"), { faults });
  const before = await train(run.config(...SET), { faults, stopWhen: at(7, { undone: true }) });
  assertEquals(before.result.state.stability.recovery, { factor: 0.5, calmSteps: 2 });
  const after = await train(run.config(...SET), { faults, resume: "latest" });
  assertEquals(ratesOf(after.records), ratesOf(straight.records).slice(-13));
  assertEquals(
    await tensorsOf(after.result.checkpoint!),
    await tensorsOf(straight.result.checkpoint!),
  );
});

Deno.test("run() leaves a finite spike out when on_spike is skip", async () => {
  await using run = await tinyRun();
  const set = [...SET, "training.steps=9", "stability.on_spike=skip"];
  const { result, records, rollbacks } = await train(run.config(...set), {
    faults: [fault("loss", [8])],
  });
  assertEquals(rollbacks, []);
  assertEquals(spikesOf(records).map(({ step, answer }) => [step, answer]), [[8, "skip"]]);
  assertEquals([result.state.updates, result.state.skipped], [8, 1]);
  assertLess(ratesOf(records).at(-1)![2], 5, "the loss of the step after is its own");
  const clean = await train(run.config(...set, "checkpoint.run=clean"), { stopWhen: at(7) });
  const skipped = await train(run.config(...set, "checkpoint.run=skipped"), {
    faults: [fault("loss", [8])],
    stopWhen: at(8),
  });
  assertEquals(
    await tensorsOf(skipped.result.checkpoint!),
    await tensorsOf(clean.result.checkpoint!),
  );
});

Deno.test("run() leaves a step out before its update to the bits that the device leaves one out to", async () => {
  await using run = await tinyRun();
  const set = [...SET, "stability.on_spike=skip"];
  const host = await train(run.config(...set, "checkpoint.run=host"), {
    faults: [fault("loss", [8])],
  });
  const device = await train(run.config(...SET, "checkpoint.run=device"), {
    faults: [fault("nan_gradient", [8])],
  });
  assertEquals([host.result.state.updates, device.result.state.updates], [19, 19]);
  assertEquals(
    await tensorsOf(host.result.checkpoint!),
    await tensorsOf(device.result.checkpoint!),
  );
});

Deno.test("run() knows a step's own grad norm when it judges before the update", async () => {
  await using run = await tinyRun();
  const { result, records } = await train(run.config(...SET, "stability.on_spike=skip"), {
    faults: [fault("nan_gradient", [8])],
  });
  assertEquals(spikesOf(records).map(({ step, detector }) => [step, detector]), [
    [8, "non_finite"],
  ]);
  assertEquals([result.state.updates, result.state.skipped], [19, 1]);
});

Deno.test("run() judges before the update to the same bits as after it", async () => {
  await using run = await tinyRun();
  const before = await train(run.config(...SET, "checkpoint.run=a", "stability.on_spike=skip"));
  const after = await train(run.config(...SET, "checkpoint.run=b"));
  assertEquals(
    await tensorsOf(before.result.checkpoint!),
    await tensorsOf(after.result.checkpoint!),
  );
});

Deno.test("run() gives up back at a snapshot that it saves, and can be resumed", async () => {
  await using run = await tinyRun();
  const set = [...SET, "stability.max_rollbacks=2"];
  const faults = [fault("loss", [13], { repeat: "always" })];
  const observer = recorder();
  {
    using trainer = await Trainer.open(run.config(...set), { observer, version: "test", faults });
    const error = await assertRejects(() => trainer.run(), DivergedError);
    assertStringIncludes(error.message, "Cannot go on at step 13");
    assertStringIncludes(error.message, "after 2 rollbacks within 1000 steps");
    assertStringIncludes(error.message, join(run.run, "step_0000005"));
  }
  assertEquals(spikesOf(observer.records).map(({ answer }) => answer), [
    "rollback",
    "rollback",
    "stop",
  ]);
  assertEquals(observer.records.at(-1)!.type, "event");
  const resumed = await train(run.config(...set), { resume: "latest" });
  assertEquals(resumed.records[0]!.step, 5);
  assertEquals(resumed.result.ended, "finished");
});

Deno.test("run() discards the checkpoints of undone steps", async () => {
  await using run = await tinyRun();
  const set = [...SET, "checkpoint.every_steps=5", "checkpoint.keep_last=9"];
  // At 11 the checkpoint of 10 has no calm step, so the run goes back to that of 5.
  const { rollbacks } = await train(run.config(...set), {
    faults: [fault("loss", [11])],
    stopWhen: at(8, { undone: true }),
  });
  assertEquals(rollbacks.map(({ to_step, place }) => [to_step, place]), [[5, "disk"]]);
  const folders = [...Deno.readDirSync(run.run)].filter(({ isDirectory }) => isDirectory);
  assertEquals(folders.map(({ name }) => name).sort(), ["step_0000005", "step_0000008"]);
});

Deno.test("run() keeps the checkpoint that it would go back to, whatever keep_last says", async () => {
  await using run = await tinyRun();
  const set = [...SET, "checkpoint.every_steps=5", "checkpoint.keep_last=1"];
  await train(run.config(...set), { stopWhen: at(11) });
  // Neither that of 11 nor that of 10 has had its three calm steps.
  const folders = [...Deno.readDirSync(run.run)].filter(({ isDirectory }) => isDirectory);
  assertEquals(folders.map(({ name }) => name).sort(), ["step_0000005", "step_0000011"]);
});

Deno.test("run() goes to an older checkpoint when the one that it wants is damaged", async () => {
  await using run = await tinyRun();
  const set = [...SET, "checkpoint.every_steps=5", "stability.snapshot_every=0"];
  const first = await train(run.config(...set), { stopWhen: at(13) });
  assertEquals(first.result.ended, "interrupted");
  const damaged = join(run.run, "step_0000010", "optimizer.safetensors");
  await Deno.truncate(damaged, 1000);
  const { rollbacks, warnings } = await train(run.config(...set), {
    resume: "latest",
    faults: [fault("loss", [14])],
  });
  assertStringIncludes(warnings[0]!, "step_0000010");
  assertEquals(rollbacks.length, 1);
  assertNotEquals(rollbacks[0]!.to_step, 10);
});

Deno.test("run() reaches the loss of a clean run within 2% when faults strike", async () => {
  await using run = await tinyRun();
  const set = [
    ...SET,
    "training.steps=200",
    "training.eval_every=200",
    "training.eval_tokens=896",
    "logging.every_steps=10",
    "stability.warmup_steps=20",
    "stability.on_loss_outlier=rollback",
    "stability.outlier_window=32",
    "stability.lr_ramp_steps=10",
    "stability.max_rollbacks=8",
  ];
  const faults = [
    fault("loss", [60]),
    fault("nan_gradient", [80, 81]),
    fault("inf_loss", [95]),
    fault("corrupt_batch", [110]),
    fault("stalled_read", [120], { ms: 50 }),
    fault("nan_gradient", [130, 131, 132, 133, 134, 135]),
  ];
  const clean = await train(run.config(...set, "checkpoint.run=clean"));
  const faulty = await train(run.config(...set), { faults });
  const lossOf = ({ records }: typeof clean) =>
    records.findLast((one): one is ValidationRecord => one.type === "validation")!.loss;
  assertEquals(spikesOf(clean.records), []);
  assertEquals(
    spikesOf(faulty.records).map(({ step, detector, answer }) => `${step} ${detector} ${answer}`),
    [
      "60 loss_ema rollback",
      "80 non_finite skip",
      "81 non_finite skip",
      "95 non_finite rollback",
      "110 loss_outlier rollback",
      ...[130, 131, 132, 133, 134].map((step) => `${step} non_finite skip`),
      "135 non_finite rollback",
    ],
  );
  assertLess(Math.abs(lossOf(faulty) / lossOf(clean) - 1), 0.02);
  assert(lossOf(clean) < 3.5, "there was something to learn");
});
