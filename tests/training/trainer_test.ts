import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertLess,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { join } from "@std/path";
import { CheckpointError } from "../../lib/checkpoint/errors.ts";
import { openCheckpoint } from "../../lib/checkpoint/open.ts";
import type { MetricsRecord, StepRecord } from "../../lib/metrics/records.ts";
import { DataError } from "../../lib/data/errors.ts";
import type { Fault } from "../../lib/stability/faults.ts";
import { DivergedError } from "../../lib/stability/diverged_error.ts";
import { trainingFlopsPerToken } from "../../lib/model/flops.ts";
import { Trainer } from "../../lib/training/trainer.ts";
import type { RunConfig } from "../../lib/config/run_config.ts";
import { recorder, spikesOf, tensorsOf, tinyRun } from "./support.ts";

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
  const result = await trainer.run({
    shouldStop: () => trainer.state.step === options.stopAfter,
  });
  const steps = observer.records.filter((record): record is StepRecord => record.type === "step");
  return { ...observer, result, steps };
}

Deno.test("run() lowers the loss when the data has something to learn", async () => {
  await using run = await tinyRun();
  const { steps } = await train(run.config("training.steps=60", "checkpoint.every_steps=0"));
  assertAlmostEquals(steps[0]!.loss, Math.log(64), 0.3);
  assertLess(steps.at(-1)!.loss, 2.9);
});

Deno.test("run() ends in the same bits when it is run twice", async () => {
  await using run = await tinyRun();
  const first = await train(run.config("checkpoint.run=first"));
  const second = await train(run.config("checkpoint.run=second"));
  assertEquals(
    await tensorsOf(second.result.checkpoint!),
    await tensorsOf(first.result.checkpoint!),
  );
});

Deno.test("run() ends in the same bits when it was interrupted and resumed", async () => {
  await using run = await tinyRun();
  const straight = await train(run.config("checkpoint.run=straight"));
  const before = await train(run.config(), { stopAfter: 7 });
  assertEquals(before.result.ended, "interrupted");
  const after = await train(run.config(), { resume: "latest" });
  assertEquals(
    await tensorsOf(after.result.checkpoint!),
    await tensorsOf(straight.result.checkpoint!),
  );
  assertEquals(
    after.steps.map(({ loss }) => loss),
    straight.steps.slice(7).map(({ loss }) => loss),
  );
});

Deno.test("run() gives the same gradient whatever the micro-batch, within rounding", async () => {
  await using run = await tinyRun();
  const set = ["training.steps=3", "optimizer.schedule.warmup_steps=1", "checkpoint.every_steps=0"];
  const small = await train(run.config(...set, "training.micro_batch=2", "checkpoint.run=small"));
  const large = await train(run.config(...set, "training.micro_batch=8", "checkpoint.run=large"));
  assertAlmostEquals(small.steps[0]!.loss, large.steps[0]!.loss, 1e-5);
  assertAlmostEquals(small.steps[0]!.grad_norm, large.steps[0]!.grad_norm, 1e-4);
});

Deno.test("run() validates on the same tokens to the same loss whatever the micro-batch", async () => {
  await using run = await tinyRun();
  // All but one norm's weight is frozen, whose 1 a step of 1e-8 doesn't move in float32: the model is the same.
  const frozen = 'optimizer.frozen=["model.embed_tokens.weight", "model.layers.*"]';
  // 7 sequences fill no whole number of micro-batches.
  const set = [
    "training.steps=1",
    "optimizer.lr=1e-8",
    "optimizer.schedule.warmup_steps=0",
    frozen,
  ];
  const losses: number[] = [];
  for (const size of [1, 2, 4, 8]) {
    const { records } = await train(
      run.config(
        ...set,
        "training.eval_tokens=200",
        `training.micro_batch=${size}`,
        `checkpoint.run=m${size}`,
      ),
    );
    const validation = records.find((record) => record.type === "validation")!;
    assertEquals(validation.validation_tokens, 224); // 200 tokens, up to whole sequences
    losses.push(validation.loss);
  }
  assertEquals(losses, losses.map(() => losses[0]!));
});

Deno.test("run() gives MFU by the peak that the config names, and null on a device that isn't known", async () => {
  await using run = await tinyRun();
  const set = ["training.steps=4", "checkpoint.every_steps=0", "optimizer.schedule.warmup_steps=1"];
  const plain = await train(run.config(...set, "checkpoint.run=plain"));
  assertEquals(plain.steps.map(({ mfu_bf16 }) => mfu_bf16), [null, null, null, null]);
  const config = run.config(...set, "checkpoint.run=named", "logging.peak_tflops=2");
  const { steps } = await train(config);
  const { total } = trainingFlopsPerToken(config.model, config.training.seqLen);
  for (const { mfu_bf16, mfu_mixed, tokens_per_s } of steps) {
    assertAlmostEquals(mfu_bf16!, total * tokens_per_s / 2e12, 1e-9);
    assertEquals(mfu_mixed, null); // the int8 peak isn't known
  }
});

Deno.test("run() tells where a step's time goes", async () => {
  await using run = await tinyRun();
  const { steps } = await train(run.config("checkpoint.every_steps=0"));
  const { forward_ms, backward_ms, optimizer_ms, data_ms } = steps.at(-1)!;
  for (const ms of [forward_ms, backward_ms, optimizer_ms, data_ms]) assert(ms! > 0, String(ms));
});

for (const set of ["training.recompute=mlp", "training.recompute=block"]) {
  Deno.test(`run() ends in the bits of a run without when ${set}`, async () => {
    await using run = await tinyRun();
    const plain = await train(run.config("checkpoint.run=plain"));
    const again = await train(run.config("checkpoint.run=again", set));
    assertEquals(
      await tensorsOf(again.result.checkpoint!),
      await tensorsOf(plain.result.checkpoint!),
    );
  });
}

Deno.test("run() saves, validates and records when they are due", async () => {
  await using run = await tinyRun();
  const { records } = await train(run.config("logging.every_steps=5"));
  const seen = records.map(({ type, step }) => `${type} ${step}`);
  assertEquals(seen, [
    "run 0",
    "step 1",
    "step 5",
    "step 10",
    "validation 10",
    "checkpoint 10",
    "step 15",
    "step 20",
    "validation 20",
    "checkpoint 20",
    "event 20",
  ]);
});

Deno.test("run() leaves the weights as they were when a step is not finite, and stops when it goes on so", async () => {
  await using run = await tinyRun();
  const observer = recorder();
  const config = run.config("stability.max_consecutive_skips=2", "stability.max_rollbacks=0");
  using trainer = await Trainer.open(config, { observer, version: "test" });
  const poisoned = trainer.model.parameters.get("model.norm.weight").value;
  const values = poisoned.toFloat32Array().fill(NaN);
  poisoned.upload(values);
  const other = trainer.model.parameters.get("model.embed_tokens.weight").value;
  const before = other.toFloat32Array();
  await assertRejects(() => trainer.run(), DivergedError, "Cannot go on at step 3");
  assertEquals(other.toFloat32Array(), before);
  assertEquals(trainer.state.updates, 0);
  assertEquals(spikesOf(observer.records).map(({ answer }) => answer), ["skip", "skip", "stop"]);
});

Deno.test("open() refuses a new run when the folder holds checkpoints, and changes nothing", async () => {
  await using run = await tinyRun();
  const { result } = await train(run.config("training.steps=10"));
  const before = await tensorsOf(result.checkpoint!);
  await assertRejects(() => train(run.config()), CheckpointError, "--resume latest");
  assertEquals(await tensorsOf(result.checkpoint!), before);
});

Deno.test("open() refuses to resume when there is nothing to resume from", async () => {
  await using run = await tinyRun();
  await assertRejects(
    () => train(run.config(), { resume: "latest" }),
    CheckpointError,
    "holds none",
  );
});

Deno.test("open() refuses a checkpoint when it is of another shape, naming the key", async () => {
  await using run = await tinyRun();
  const { result } = await train(run.config("training.steps=10"));
  const error = await assertRejects(
    () => train(run.config("model.intermediate_size=256"), { resume: result.checkpoint! }),
    CheckpointError,
  );
  assertStringIncludes(
    error.message,
    "model.intermediate_size must be 128: current value is 256",
  );
});

Deno.test("open() refuses a checkpoint when the data is another", async () => {
  await using run = await tinyRun();
  const { result } = await train(run.config("training.steps=10"));
  await Deno.truncate(join(run.folder, "train.bin"), 10_000);
  await assertRejects(
    () => train(run.config(), { resume: result.checkpoint! }),
    DataError,
    "file 1 of 1 must be train.bin (40000 bytes",
  );
});

Deno.test("open() passes over a damaged checkpoint when it resumes from the latest", async () => {
  await using run = await tinyRun();
  await train(run.config());
  const damaged = join(run.run, "step_0000020", "model.safetensors");
  const bytes = await Deno.readFile(damaged);
  bytes[bytes.length - 5]! ^= 4;
  await Deno.writeFile(damaged, bytes);
  const { warnings, records } = await train(run.config(), { resume: "latest" });
  assertStringIncludes(warnings[0]!, "step_0000020");
  assertEquals(records[0]!.step, 10);
});

Deno.test("open() refuses to go on from a checkpoint that is not the folder's last, but under another name", async () => {
  await using run = await tinyRun();
  await train(run.config());
  const resume = join(run.run, "step_0000010");
  const error = await assertRejects(() => train(run.config(), { resume }), CheckpointError);
  assertStringIncludes(error.message, `Cannot go on from ${resume} in its own folder`);
  assertStringIncludes(error.message, "step_0000020 the last");
  const { result } = await train(run.config("checkpoint.run=other"), { resume });
  assertEquals(result.state.step, 20);
});

Deno.test("open() refuses to go on in a folder that holds another run's checkpoints, and changes nothing", async () => {
  await using run = await tinyRun();
  const other = await train(run.config("checkpoint.run=other"));
  await train(run.config());
  const before = [...Deno.readDirSync(run.run)].map(({ name }) => name).sort();
  const set = ["training.steps=30", "checkpoint.keep_last=1"];
  await assertRejects(
    () => train(run.config(...set), { resume: other.result.checkpoint! }),
    CheckpointError,
    "holds checkpoints of another run",
  );
  assertEquals([...Deno.readDirSync(run.run)].map(({ name }) => name).sort(), before);
});

Deno.test("open() tells of settings that are not the checkpoint's, and of no others", async () => {
  await using run = await tinyRun();
  await train(run.config(), { stopAfter: 7 });
  const same = await train(run.config("logging.every_steps=3"), { resume: "latest", stopAfter: 9 });
  assertEquals(same.warnings, []);
  const other = await train(run.config("optimizer.lr=1e-3", "training.steps=30"), {
    resume: "latest",
    stopAfter: 10,
  });
  assertEquals(other.warnings, [
    `Goes on from ${join(run.run, "step_0000009")} with other settings: ` +
    "training.steps 20 -> 30, optimizer.lr 0.003 -> 0.001, stability.lr_ramp_steps 1 -> 2",
  ]);
});

Deno.test("run() warns when its last step is not finite, and of none before", async () => {
  await using run = await tinyRun();
  const nan = (step: number): { faults: Fault[] } => ({
    faults: [{ kind: "nan_gradient", steps: [step], repeat: "once", factor: 10, ms: 0 }],
  });
  const last = await train(run.config("checkpoint.run=last"), nan(20));
  assertEquals(last.result.ended, "finished");
  assertStringIncludes(last.warnings.at(-1)!, "The run ended on a step whose loss or gradient");
  const earlier = await train(run.config(), nan(17));
  assert(!earlier.warnings.some((text) => text.includes("The run ended")), `${earlier.warnings}`);
});

Deno.test("run() saves the steps before data that is damaged, and goes on when that was mended", async () => {
  await using run = await tinyRun();
  const file = join(run.folder, "train.bin");
  const sound = await Deno.readFile(file);
  const straight = await train(run.config("checkpoint.run=straight"));
  const damaged = sound.slice();
  damaged.fill(0xff, 5000, 5600); // a few windows of 64 bytes, which some step comes upon
  await Deno.writeFile(file, damaged);
  const config = run.config("checkpoint.every_steps=0");
  const error = await assertRejects(() => train(config), DataError);
  const [, step] = /step (\d+) was the last, \S+step_0*\d+ holds the run as it was/.exec(
    error.message,
  )!;
  assert(Number(step) > 0, error.message);
  await Deno.writeFile(file, sound);
  const after = await train(run.config("checkpoint.every_steps=10"), { resume: "latest" });
  assertEquals(after.steps[0]!.step, Number(step) + 1);
  assertEquals(
    await tensorsOf(after.result.checkpoint!),
    await tensorsOf(straight.result.checkpoint!),
  );
});

Deno.test("run() saves the steps before a token file that was cut short", async () => {
  for (const cut of ["train.bin", "val.bin"]) {
    await using run = await tinyRun();
    const file = join(run.folder, cut);
    const observer = recorder();
    const record = (found: MetricsRecord) => {
      if (found.type === "step" && found.step === 7) Deno.truncateSync(file, 0);
    };
    const options = { version: "test", observer: { ...observer, record } };
    const error = await assertRejects(
      async () => {
        using trainer = await Trainer.open(run.config("checkpoint.every_steps=0"), options);
        await trainer.run();
      },
      DataError,
      `Cannot read ${file}`,
    );
    const step = cut === "train.bin" ? 7 : 10;
    assertStringIncludes(error.message, `step ${step} was the last, `);
    assertEquals(
      (await openCheckpoint(join(run.run, `step_00000${`${step}`.padStart(2, "0")}`))).step,
      step,
    );
  }
});

Deno.test("run() refuses a token outside the vocabulary before it reaches the model", async () => {
  await using run = await tinyRun();
  const path = join(run.folder, "train.bin");
  const bytes = await Deno.readFile(path);
  new Uint16Array(bytes.buffer).fill(64, 0, 10_000);
  await Deno.writeFile(path, bytes);
  const error = await assertRejects(() => train(run.config()), DataError);
  assertStringIncludes(error.message, path);
  assert(error.message.includes("64"), error.message);
});

Deno.test("open() names the keys of a model that is not the checkpoint's", async () => {
  await using run = await tinyRun();
  await train(run.config(), { stopAfter: 2 });
  const other = run.config("model.hidden_size=128", "model.num_layers=3");
  const error = await assertRejects(() => train(other, { resume: "latest" }), CheckpointError);
  assertStringIncludes(
    error.message,
    "step_0000002 as the model must be the one it holds: model.hidden_size must be 64: current value is 128; " +
      "model.num_layers must be 2: current value is 3; resume with its own values",
  );
});

Deno.test("open() names training.threads when it is more than the cores", async () => {
  await using run = await tinyRun();
  await assertRejects(
    () => train(run.config("training.threads=999")),
    RangeError,
    "training.threads must be at most its",
  );
});
