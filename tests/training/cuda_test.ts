import { assert, assertEquals, assertLess, assertRejects } from "@std/assert";
import type { RunConfig } from "../../lib/config/run_config.ts";
import type { StepRecord } from "../../lib/metrics/records.ts";
import { DivergedError } from "../../lib/stability/diverged_error.ts";
import type { Fault } from "../../lib/stability/faults.ts";
import { runTraining } from "../../lib/training/run.ts";
import { Trainer } from "../../lib/training/trainer.ts";
import { hasCuda } from "../support/devices.ts";
import { recorder, spikesOf, tensorsOf, tinyRun } from "./support.ts";

/** A test of a whole run on the card; shown as ignored where there is none. */
function trainingTest(name: string, body: () => Promise<void>): void {
  const ignore = !hasCuda();
  Deno.test({ name: ignore ? `cuda: no device found, skipped: ${name}` : name, ignore, fn: body });
}

async function train(
  config: RunConfig,
  options: { resume?: string; stopAfter?: number; faults?: readonly Fault[] } = {},
) {
  const observer = recorder();
  using trainer = await Trainer.open(config, {
    observer,
    version: "test",
    faults: options.faults ?? [],
    ...(options.resume !== undefined && { resume: options.resume }),
  });
  let asked = trainer.state.step;
  const result = await trainer.run({ shouldStop: () => ++asked === options.stopAfter });
  const steps = observer.records.filter((record): record is StepRecord => record.type === "step");
  return { ...observer, result, steps };
}

const CUDA = ["training.device=cuda", "training.eval_every=0"];

trainingTest(
  "a run of 50 steps on the card ends in the same bits when it is run twice",
  async () => {
    await using run = await tinyRun();
    const set = [...CUDA, "training.steps=50", "checkpoint.every_steps=0"];
    const first = await train(run.config(...set, "checkpoint.run=first"));
    const second = await train(run.config(...set, "checkpoint.run=second"));
    assertLess(first.steps.at(-1)!.loss, first.steps[0]!.loss - 0.5);
    assertEquals(
      await tensorsOf(second.result.checkpoint!),
      await tensorsOf(first.result.checkpoint!),
    );
  },
);

for (const state of ["fp32", "bf16", "int8"]) {
  trainingTest(
    `a run on the card with ${state} moments ends in the same bits when it was interrupted and resumed`,
    async () => {
      await using run = await tinyRun();
      const set = [...CUDA, `optimizer.state=${state}`, "logging.every_steps=6"];
      const straight = await train(run.config(...set, "checkpoint.run=straight"));
      const before = await train(run.config(...set), { stopAfter: 7 });
      assertEquals([before.result.ended, before.result.state.step], ["interrupted", 7]);
      const after = await train(run.config(...set), { resume: "latest" });
      assertEquals(
        await tensorsOf(after.result.checkpoint!),
        await tensorsOf(straight.result.checkpoint!),
      );
    },
  );
}

for (const recompute of ["mlp", "block"]) {
  trainingTest(
    `a run on the card with recompute ${recompute} ends in the bits of one without`,
    async () => {
      await using run = await tinyRun();
      const plain = await train(run.config(...CUDA, "checkpoint.run=plain"));
      const again = await train(
        run.config(...CUDA, "checkpoint.run=again", `training.recompute=${recompute}`),
      );
      assertEquals(
        await tensorsOf(again.result.checkpoint!),
        await tensorsOf(plain.result.checkpoint!),
      );
    },
  );
}

trainingTest(
  "results that are looked at late are those that are looked at once a step",
  async () => {
    await using run = await tinyRun();
    const often = await train(run.config(...CUDA, "checkpoint.run=often"));
    const seldom = await train(
      run.config(...CUDA, "checkpoint.run=seldom", "logging.every_steps=8"),
    );
    const mean = (from: number, to: number) =>
      often.steps.slice(from, to).reduce((sum, { loss }) => sum + loss, 0) / (to - from);
    assertEquals(seldom.steps.map(({ step }) => step), [1, 8, 16, 20]);
    assertEquals(
      seldom.steps.map(({ loss }) => loss),
      [mean(0, 1), mean(1, 8), mean(8, 16), mean(16, 20)],
    );
    assertEquals(
      await tensorsOf(seldom.result.checkpoint!),
      await tensorsOf(often.result.checkpoint!),
    );
  },
);

trainingTest("records of the card tell where a step's time goes", async () => {
  await using run = await tinyRun();
  const { steps } = await train(run.config(...CUDA));
  for (const { forward_ms, backward_ms, optimizer_ms, data_ms } of steps) {
    for (const ms of [forward_ms, backward_ms, optimizer_ms, data_ms]) assert(ms! > 0, String(ms));
  }
});

trainingTest(
  "steps that are not finite leave the weights and are counted, though the host learns of them late",
  async () => {
    await using run = await tinyRun();
    const observer = recorder();
    const config = run.config(
      ...CUDA,
      "stability.max_consecutive_skips=2",
      "stability.max_rollbacks=0",
      "logging.every_steps=10",
      "checkpoint.every_steps=0",
    );
    using trainer = await Trainer.open(config, { observer, version: "test" });
    const poisoned = trainer.model.parameters.get("model.norm.weight").value;
    poisoned.upload(poisoned.toFloat32Array().fill(NaN));
    const other = trainer.model.parameters.get("model.embed_tokens.weight").value;
    const before = other.toFloat32Array();
    await assertRejects(() => trainer.run(), DivergedError, "Cannot go on at step 3");
    assertEquals(other.toFloat32Array(), before);
    assertEquals(trainer.state.updates, 0);
    assertEquals(spikesOf(observer.records).map(({ answer }) => answer), ["skip", "skip", "stop"]);
  },
);

trainingTest(
  "a spike that the host learns of late is undone, and the run ends in the same bits when it is run twice",
  async () => {
    await using run = await tinyRun();
    const faults: Fault[] = [{ kind: "loss", steps: [15], repeat: "once", factor: 50, ms: 1 }];
    const ends = [];
    for (const name of ["first", "second"]) {
      const config = run.config(
        ...CUDA,
        `checkpoint.run=${name}`,
        "training.steps=30",
        "logging.every_steps=6",
        "checkpoint.every_steps=0",
        "stability.warmup_steps=4",
        "stability.snapshot_every=5",
        "stability.stable_after=3",
        "stability.lr_ramp_steps=5",
      );
      const { result, records, steps } = await train(config, { faults });
      const undone = records.filter(({ type, ...rest }) =>
        type === "stability" && "event" in rest && rest.event === "rollback"
      );
      assertEquals([undone.length, result.state.step], [1, 30]);
      assertLess(steps.at(-1)!.loss, steps[0]!.loss);
      ends.push(await tensorsOf(result.checkpoint!));
    }
    assertEquals(ends[1], ends[0]);
  },
);

trainingTest(
  "runTraining() records a loss and metrics of its own into graphs, and resumes to the same bits",
  async () => {
    await using run = await tinyRun();
    const trainOwn = async (resume?: string) => {
      const observer = recorder();
      const config = run.config("training.device=cuda", "logging.every_steps=5");
      const layers = new URL("./logging_smooth_layers.ts", import.meta.url);
      const options = { version: "test", observer, layers, ...(resume && { resume }) };
      const { checkpoint } = await runTraining(config, options);
      const steps = observer.records.filter((record) => record.type === "step");
      return { checkpoint: checkpoint!, steps };
    };
    const own = await trainOwn();
    assert(own.steps.at(-1)!.loss < own.steps[0]!.loss);
    const norms = own.steps.map(({ metrics }) => metrics!["model.layers.0.mlp.down_proj.norm"]!);
    assert(norms.every((norm, i) => norm > 0 && norm !== norms[i + 1]), `${norms}`);
    const whole = await tensorsOf(own.checkpoint);
    await Deno.remove(own.checkpoint, { recursive: true });
    const resumed = await trainOwn("latest");
    assertEquals(await tensorsOf(resumed.checkpoint), whole);
  },
);
