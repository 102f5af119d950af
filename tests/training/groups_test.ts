/**
 * Whole runs in which parameters are frozen, or groups of them have a learning rate of their own.
 */

import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { parse } from "@std/yaml";
import { ConfigError } from "../../lib/config/errors.ts";
import { runConfigToYaml } from "../../lib/config/print.ts";
import { SafetensorsFile } from "../../lib/interop/safetensors.ts";
import type { StepRecord } from "../../lib/metrics/records.ts";
import { runTraining, TrainingError } from "../../lib/training/run.ts";
import { Trainer, type TrainerOptions } from "../../lib/training/trainer.ts";
import { recorder, tensorsOf, type TinyRun, tinyRun } from "./support.ts";

async function train(
  run: TinyRun,
  set: string[],
  options: Partial<TrainerOptions> & { stopAfter?: number } = {},
) {
  const observer = recorder();
  const { stopAfter, ...rest } = options;
  const config = run.config("training.threads=1", ...set);
  using trainer = await Trainer.open(config, { observer, version: "test", ...rest });
  const result = await trainer.run({ shouldStop: () => trainer.state.step === stopAfter });
  const steps = observer.records.filter((record): record is StepRecord => record.type === "step");
  return { checkpoint: result.checkpoint!, steps, warnings: observer.warnings };
}

/** Bytes of a checkpoint's tensors by name. */
async function weightsOf(checkpoint: string, file = "model"): Promise<Map<string, Uint8Array>> {
  using tensors = SafetensorsFile.open(join(checkpoint, `${file}.safetensors`));
  const values = new Map<string, Uint8Array>();
  for (const [name, { begin, end }] of tensors.tensors) {
    const bytes = new Uint8Array(end - begin);
    await tensors.readInto(name, bytes, 0);
    values.set(name, bytes);
  }
  return values;
}

const ONE_STEP = ["training.steps=1", "optimizer.schedule.warmup_steps=0"];
/** What the tests compare with stays as the seed made it. */
const UNMOVED =
  'optimizer.frozen=["model.embed_tokens.weight", "model.norm.weight", "*.k_proj.weight", "model.layers.1.*"]';
const FROZEN = 'optimizer.frozen=["model.embed_tokens.weight", "*.k_proj.weight"]';

Deno.test("run() leaves frozen parameters as the seed made them, and their moments 0, also when it was interrupted and resumed", async () => {
  await using run = await tinyRun();
  const { checkpoint, steps } = await train(run, [FROZEN, "checkpoint.run=straight"]);
  const first = await train(run, [
    ...ONE_STEP,
    UNMOVED,
    "checkpoint.run=fresh",
  ]);
  const [before, after] = [await weightsOf(first.checkpoint), await weightsOf(checkpoint)];
  const moments = await weightsOf(checkpoint, "optimizer");
  for (const [name, bytes] of after) {
    const frozen = name.includes("embed_tokens") || name.includes("k_proj");
    assertEquals(bytes.every((byte, i) => byte === before.get(name)![i]), frozen, name);
    const still = moments.get(`${name}.exp_avg`)!.every((byte) => byte === 0);
    assertEquals(still, frozen, name);
  }
  const plain = await train(run, [...ONE_STEP, "checkpoint.run=plain"]);
  assert(steps[0]!.grad_norm < plain.steps[0]!.grad_norm);

  await train(run, [FROZEN], { stopAfter: 7 });
  const resumed = await train(run, [FROZEN], { resume: "latest" });
  assertEquals(resumed.warnings, []);
  assertEquals(await tensorsOf(resumed.checkpoint), await tensorsOf(checkpoint));
});

Deno.test("run() goes on with parameters that were frozen before when the settings say so, and tells", async () => {
  await using run = await tinyRun();
  const before = await train(run, [FROZEN], { stopAfter: 7 });
  const { checkpoint, warnings } = await train(run, [], { resume: "latest" });
  assert(/optimizer\.frozen .*embed_tokens.* -> none/.test(warnings[0]!), warnings[0]);
  const name = "model.embed_tokens.weight";
  const [old, now] = [await weightsOf(before.checkpoint), await weightsOf(checkpoint)];
  assertNotEquals(now.get(name), old.get(name));
});

Deno.test("run() moves a group by its factor of the learning rate, from the step's own gradients", async () => {
  await using run = await tinyRun();
  const values = async (name: string, ...more: string[]) => {
    const { checkpoint } = await train(run, [...ONE_STEP, `checkpoint.run=${name}`, ...more]);
    return await weightsOf(checkpoint);
  };
  const fresh = await values("fresh", UNMOVED);
  const plain = await values("plain");
  const half = await values("half", "optimizer.lr_factors={embeddings: 0.5, norms: 4}");
  const factors: Record<string, number> = {
    "model.embed_tokens.weight": 0.5,
    "model.norm.weight": 4,
  };
  for (const name of [...Object.keys(factors), "model.layers.1.mlp.up_proj.weight"]) {
    const floats = (from: Map<string, Uint8Array>) => new Float32Array(from.get(name)!.buffer);
    const [start, one, other] = [floats(fresh), floats(plain), floats(half)];
    const worst = start.reduce((most, value, i) => {
      const wanted = (factors[name] ?? 1) * (one[i]! - value);
      return Math.max(most, Math.abs(other[i]! - value - wanted));
    }, 0);
    assert(worst < 1e-6, `${name}: ${worst}`);
    assert(start.some((value, i) => Math.abs(one[i]! - value) > 1e-4), name);
  }
});

Deno.test("a NaN gradient made on purpose is one of a trained parameter when others are frozen", async () => {
  await using run = await tinyRun();
  const fault = { kind: "nan_gradient", steps: [3], repeat: "once", factor: 0, ms: 0 } as const;
  const { steps } = await train(run, ['optimizer.frozen=["*_proj.weight"]'], { faults: [fault] });
  assertEquals(steps.at(-1)!.skipped, 1);
});

for (
  const [what, set, message] of [
    [
      "freezes what isn't there",
      'optimizer.frozen=["lm_head.weight"]',
      /^optimizer\.frozen: Cannot find lm_head\.weight/,
    ],
    ["freezes all", 'optimizer.frozen=["*"]', /every parameter is frozen/],
    [
      "has a rate for no group",
      "optimizer.lr_factors={scales: 2}",
      /must name groups of the model, projections, embeddings, norms: current value is scales/,
    ],
  ] as const
) {
  Deno.test(`runTraining() refuses a run that ${what}, and leaves nothing in its place`, async () => {
    await using run = await tinyRun();
    const { message: found } = await assertRejects(
      () => runTraining(run.config(set), { version: "test", observer: recorder() }),
      TrainingError,
    );
    assert(message.test(found), found);
    await assertRejects(() => Deno.stat(run.run), Deno.errors.NotFound);
  });
}

Deno.test("optimizer.frozen and lr_factors are read, refused and printed as they were written", async () => {
  await using run = await tinyRun();
  const config = run.config(FROZEN, "optimizer.lr_factors={embeddings: 0.5}");
  const printed = parse(runConfigToYaml(config)) as { optimizer: Record<string, unknown> };
  assertEquals(printed.optimizer.frozen, ["model.embed_tokens.weight", "*.k_proj.weight"]);
  assertEquals(printed.optimizer.lr_factors, { embeddings: 0.5 });
  const empty = parse(runConfigToYaml(run.config("optimizer.lr_factors={}"))) as typeof printed;
  assertEquals(empty.optimizer.lr_factors, {});
  for (
    const wrong of [
      "optimizer.lr_factors={embeddings: 0}",
      "optimizer.lr_factors={My Group: 1}",
      "optimizer.lr_factors=[1]",
      "optimizer.frozen=model",
      'optimizer.frozen=[""]',
    ]
  ) {
    const expected = wrong.includes("frozen") ? "a list of names" : "a mapping from groups";
    await assertRejects(() => Promise.try(() => run.config(wrong)), ConfigError, expected);
  }
});
