/** Runs whose disk refuses a checkpoint: what they go on to is what they would have gone on to. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import type { RunConfig } from "../../lib/config/run_config.ts";
import type { Fault } from "../../lib/stability/faults.ts";
import { Trainer } from "../../lib/training/trainer.ts";
import { withIntercept } from "../checkpoint/support.ts";
import { recorder, tensorsOf, tinyRun } from "./support.ts";

const SET = [
  "training.eval_every=0",
  "stability.warmup_steps=4",
  "stability.stable_after=3",
  "stability.lr_ramp_steps=5",
  "checkpoint.every_steps=5",
  "checkpoint.keep_last=9",
];

const SPIKE: Fault = { kind: "loss", steps: [12], repeat: "once", factor: 50, ms: 1 };

/** Trains while the first `times` changes of the file system that `refused` names fail with EIO. */
async function train(
  config: RunConfig,
  { refused = () => false, times = 1, stopAt = Infinity, faults = [SPIKE] }: {
    refused?: (call: string) => boolean;
    times?: number;
    stopAt?: number;
    faults?: Fault[];
  } = {},
) {
  const observer = recorder();
  let left = times;
  const result = await withIntercept((call) => {
    if (left === 0 || !refused(call)) return;
    left--;
    throw new Error("Input/output error (os error 5)");
  }, async () => {
    using trainer = await Trainer.open(config, { observer, version: "test", faults });
    const undone = () => trainer.state.stability.undone > 0;
    return await trainer.run({ shouldStop: () => trainer.state.step === stopAt && undone() });
  });
  const rollbacks = observer.records.flatMap((record) =>
    record.type === "stability" && record.event === "rollback" ? [record.to_step] : []
  );
  return { ...observer, result, rollbacks, left };
}

const saves = (step: number) => (call: string) =>
  call.startsWith("mkdirSync") && call.includes(`.tmp-step_${String(step).padStart(7, "0")}`);

/** Subfolders of the run, which are its checkpoints. */
function checkpointsIn(run: string): string[] {
  return [...Deno.readDirSync(run)].filter(({ isDirectory }) => isDirectory)
    .map(({ name }) => name).sort();
}

for (const every of [5, 7, 0]) {
  Deno.test(`run() stays on its path when saves before a rollback fail, with snapshots every ${every} steps`, async () => {
    await using run = await tinyRun();
    const set = [...SET, `stability.snapshot_every=${every}`];
    const clean = await train(run.config(...set, "checkpoint.run=clean"));
    assertEquals(clean.rollbacks.length, 1);
    for (const step of [5, 10]) {
      const failed = await train(run.config(...set, `checkpoint.run=failed${step}`), {
        refused: saves(step),
      });
      assertEquals(failed.left, 0);
      assertEquals(failed.rollbacks, clean.rollbacks);
      assertStringIncludes(failed.warnings[0]!, "training goes on");
      assertEquals(
        await tensorsOf(failed.result.checkpoint!),
        await tensorsOf(clean.result.checkpoint!),
      );
      assertEquals(failed.result.state, clean.result.state);
    }
  });
}

Deno.test("run() stays on its path when every save up to a rollback fails, its own too", async () => {
  await using run = await tinyRun();
  const set = [...SET, "stability.snapshot_every=0"];
  const clean = await train(run.config(...set, "checkpoint.run=clean"));
  const failed = await train(run.config(...set, "checkpoint.run=failed"), {
    refused: (call) => call.startsWith("mkdirSync") && call.includes(".tmp-"),
    times: 3,
  });
  assertEquals([failed.rollbacks, failed.left], [clean.rollbacks, 0]);
  assertEquals(
    await tensorsOf(failed.result.checkpoint!),
    await tensorsOf(clean.result.checkpoint!),
  );
});

Deno.test("run() discards checkpoints of undone steps later when the save of the rollback failed", async () => {
  await using run = await tinyRun();
  // Back from 12 to 5; that save fails, and the checkpoint of 10 is of a course that was left.
  let seen = 0;
  const failed = await train(run.config(...SET, "stability.snapshot_every=0"), {
    refused: (call) => saves(5)(call) && ++seen === 2,
    stopAt: 7,
  });
  assertEquals(failed.left, 0);
  assertEquals(checkpointsIn(run.run), ["step_0000005", "step_0000007"]);
});

Deno.test("run() counts a checkpoint whose folder could not be synced, and says that it is there", async () => {
  await using run = await tinyRun();
  const { result, warnings } = await train(run.config(...SET, "training.steps=5"), {
    refused: (call) => call === `syncSync ${run.run}`,
    faults: [],
  });
  assertEquals(result.checkpoint, join(run.run, "step_0000005"));
  assertEquals(warnings, [result.unsaved!]);
  assertMatch(result.unsaved!, /step_0000005 is there and whole, but a power failure may take it/);
  assertStringIncludes(result.unsaved!, `(os error 5): sync '${run.run}'`);
});
