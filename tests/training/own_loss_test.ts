/** Whole runs, and passes, with a loss of the logits of a researcher's own. */

import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import type { StepRecord, ValidationRecord } from "../../lib/metrics/records.ts";
import { memoryShapeOf, planMemory } from "../../lib/training/memory_plan.ts";
import { runTraining, TrainingError } from "../../lib/training/run.ts";
import {
  type ActivationDType,
  BitNetConfig,
  BitNetTransformer,
  crossEntropy,
  type Device,
  type Layers,
  loadModel,
  type LogitLoss,
} from "../../mod.ts";
import { assertClose } from "../support/compare.ts";
import { cudaTest } from "../support/devices.ts";
import { layers as smooth } from "./smooth_layers.ts";
import { recorder, tensorsOf, type TinyRun, tinyRun } from "./support.ts";

const SMOOTH = new URL("./smooth_layers.ts", import.meta.url);

async function train(run: TinyRun, options: { set?: string[]; layers?: URL; resume?: string }) {
  const observer = recorder();
  const { set = [], ...rest } = options;
  const result = await runTraining(run.config(...set), { ...rest, version: "test", observer });
  const of = <Type extends "step" | "validation">(type: Type) =>
    observer.records.filter((record) => record.type === type);
  const steps = of("step") as StepRecord[];
  const validations = of("validation") as ValidationRecord[];
  return { result, losses: steps.map(({ loss }) => loss), validations };
}

/** Cross-entropy of what the run validates on, 16 sequences of 32 tokens. */
function crossEntropyOf(model: BitNetTransformer, run: TinyRun): number {
  const bytes = Deno.readFileSync(join(run.folder, "val.bin"));
  const tokens = [...new Uint16Array(bytes.buffer)];
  let sum = 0;
  for (let sequence = 0; sequence < 16; sequence++) {
    const from = 32 * sequence;
    using pass = model.plan({ sequences: 1, tokens: 32, training: false }).commit(model.device);
    pass.ids.upload(Int32Array.from(tokens.slice(from, from + 32)));
    pass.targets.upload(Int32Array.from(tokens.slice(from + 1, from + 33)));
    pass.forward();
    sum += pass.loss({ scale: 1 / 32 });
  }
  return sum / 16;
}

/** Cross-entropy, told to the model as a loss of its own. */
const plain: LogitLoss = ({ logits, targets, loss, dlogits, scale }) =>
  crossEntropy({ logits, targets, loss, dlogits, gradScale: scale });

/** Loss and gradients of a model over some sequences. */
function gradientsOf(
  config: BitNetConfig,
  options: {
    ids: number[][];
    layers: Partial<Layers>;
    device?: Device;
    dtype?: ActivationDType;
  },
) {
  const { device = { kind: "cpu", threads: 2 } as const, dtype = "float32", layers } = options;
  using model = BitNetTransformer.create(config, { device, dtype, layers });
  const { loss } = model.forward(options.ids, { labels: options.ids });
  model.backward();
  return {
    loss: loss!,
    gradients: model.parameters.all.map(({ name, grad }) => ({
      name,
      values: grad!.toFloat32Array(),
    })),
  };
}

Deno.test("runTraining() trains with a loss of its own, saves and resumes to the same bits, and validates by cross-entropy", async () => {
  await using run = await tinyRun();
  const own = await train(run, { layers: SMOOTH });
  const usual = await train(run, { set: ["checkpoint.run=usual"] });
  assertNotEquals(own.losses, usual.losses);
  using loaded = await loadModel(own.result.checkpoint!, { device: { kind: "cpu", threads: 1 } });
  assertClose({
    name: "validation",
    actual: [own.validations.at(-1)!.loss],
    expected: [crossEntropyOf(loaded.model, run)],
    absolute: 1e-5,
  });

  const whole = await tensorsOf(own.result.checkpoint!);
  await Deno.remove(own.result.checkpoint!, { recursive: true });
  const resumed = await train(run, { layers: SMOOTH, resume: "latest" });
  assertEquals(resumed.losses, own.losses.slice(10));
  assertEquals(await tensorsOf(resumed.result.checkpoint!), whole);
});

Deno.test("a resume without the run's own loss is refused, while loadModel() takes the model without it", async () => {
  await using run = await tinyRun();
  const { result } = await train(run, { layers: SMOOTH });
  await assertRejects(
    () => train(run, { resume: "latest", set: ["training.steps=30"] }),
    TrainingError,
    "as its layers of kind loss must be those of the program that trained it",
  );
  const device = { kind: "cpu", threads: 1 } as const;
  using bare = await loadModel(result.checkpoint!, { device });
  using given = await loadModel(result.checkpoint!, { device, layers: smooth });
  assertEquals(bare.model.forward([1, 2, 3]).logits, given.model.forward([1, 2, 3]).logits);
});

Deno.test("a loss of its own that is the cross-entropy gives its loss and gradients, whole and in several pieces", () => {
  for (
    const [vocabSize, tokens, pieces] of [
      [97, 12, [0]],
      [131_072, 75, [0, 64, 128]], // 64 rows of logits at a time
    ] as const
  ) {
    const config = new BitNetConfig({ vocabSize, hiddenSize: 32, numLayers: 1, numHeads: 2 });
    const ids = [1, 2].map((seed) =>
      Array.from({ length: tokens }, (_, t) => (7919 * seed * (t + 1)) % vocabSize)
    );
    const starts = new Set<number>();
    const layers: Partial<Layers> = {
      loss(rows) {
        starts.add(rows.from);
        assertEquals(rows.ids.shape, [2, tokens]);
        plain(rows);
      },
    };
    const expected = gradientsOf(config, { ids, layers: {} });
    const actual = gradientsOf(config, { ids, layers });
    assertEquals([...starts], [...pieces]);
    assertClose({
      name: "loss",
      actual: [actual.loss],
      expected: [expected.loss],
      absolute: 1e-6,
    });
    for (const [index, { name, values }] of actual.gradients.entries()) {
      const wanted = expected.gradients[index]!.values;
      const largest = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      assertClose({ name, actual: values, expected: wanted, absolute: 1e-5 * largest });
    }
  }
});

Deno.test("a loss of its own can be taught by another model that runs the same tokens", () => {
  const config = new BitNetConfig({ vocabSize: 61, hiddenSize: 32, numLayers: 1, numHeads: 2 });
  using teacher = BitNetTransformer.create(config, { device: { kind: "cpu" }, seed: 5 });
  const ids = [[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]];
  using pass = teacher.plan({ sequences: 2, tokens: 5, training: false }).commit(teacher.device);
  const layers: Partial<Layers> = {
    loss({ logits, targets, loss, dlogits, scale, from, ids }) {
      if (from === 0) {
        pass.ids.copyFrom(ids);
        pass.forward();
      }
      const taught = pass.computeLogits(from, from + targets.length);
      crossEntropy({
        ...{ logits, targets, loss, dlogits, gradScale: scale },
        ...{ teacher: taught, teacherWeight: 1 },
      });
    },
  };
  // A student that is the teacher has nothing to learn from it.
  using model = BitNetTransformer.create(config, { device: teacher.device, seed: 5, layers });
  const { loss } = model.forward(ids, { labels: ids });
  model.backward();
  const largest = Math.max(
    ...model.parameters.all.flatMap(({ grad }) => [...grad!.toFloat32Array()].map(Math.abs)),
  );
  assert(loss! > 3 && largest < 1e-6, `loss ${loss}, largest gradient ${largest}`);
});

cudaTest("a loss of its own that is the cross-entropy gives its loss and gradients", (device) => {
  const ids = [1, 2].map((seed) =>
    Array.from({ length: 300 }, (_, t) => (7919 * seed * (t + 1)) % 2000)
  );
  const config = new BitNetConfig({
    ...{ vocabSize: 2000, hiddenSize: 64, numLayers: 1, numHeads: 2 },
  });
  for (const [dtype, tolerance] of [["float32", 1e-4], ["bfloat16", 2 ** -6]] as const) {
    const expected = gradientsOf(config, { ids, layers: {}, device, dtype });
    const actual = gradientsOf(config, { ids, layers: { loss: plain }, device, dtype });
    assertClose({
      name: `loss in ${dtype}`,
      actual: [actual.loss],
      expected: [expected.loss],
      absolute: 1e-4,
    });
    for (const [index, { name, values }] of actual.gradients.entries()) {
      const wanted = expected.gradients[index]!.values;
      const largest = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      assertClose({ name, actual: values, expected: wanted, absolute: tolerance * largest });
    }
  }
});

Deno.test("planMemory() gives a loss of its own the memory of the cross-entropy", async () => {
  await using run = await tinyRun();
  const config = run.config();
  for (const dtype of ["float32", "bfloat16"] as const) {
    const total = (layers: Partial<Layers>) =>
      planMemory(config.model, memoryShapeOf(config, dtype, { layers })).total;
    assertEquals(total({ loss: plain }), total({}));
  }
});
