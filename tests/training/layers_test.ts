/** Whole runs with layers of a researcher's own. */

import { assert, assertEquals, assertLess, assertNotEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import type { StepRecord } from "../../lib/metrics/records.ts";
import { importLayers } from "../../lib/training/import_layers.ts";
import { planMemory } from "../../lib/training/memory_plan.ts";
import { runTraining, TrainingError } from "../../lib/training/run.ts";
import {
  BitLinear,
  BitNetConfig,
  exportModel,
  type Layers,
  loadModel,
  type ProjectionSpec,
} from "../../mod.ts";
import { CheckpointError } from "../../lib/checkpoint/errors.ts";
import { recorder, tensorsOf, type TinyRun, tinyRun } from "./support.ts";

const MODULE = new URL("./row_layers.ts", import.meta.url);

/** Losses of a run whose layers are those of `layers`, and where it ended. */
async function train(run: TinyRun, options: { set?: string[]; layers?: URL; resume?: string }) {
  const observer = recorder();
  const { set = [], ...rest } = options;
  const result = await runTraining(run.config(...set), { ...rest, version: "test", observer });
  const steps = observer.records.filter((record): record is StepRecord => record.type === "step");
  return { result, losses: steps.map(({ loss }) => loss) };
}

Deno.test("runTraining() trains, saves and resumes to the same bits when projections are a module's own", async () => {
  await using run = await tinyRun();
  const own = await train(run, { layers: MODULE, set: ["training.steps=20"] });
  assertEquals(own.losses.length, 20);
  assertLess(own.losses.at(-1)!, own.losses[0]!);
  const plain = await train(run, { set: ["checkpoint.run=plain"] });
  assertNotEquals(own.losses, plain.losses);

  const whole = await tensorsOf(own.result.checkpoint!);
  await Deno.remove(own.result.checkpoint!, { recursive: true });
  const resumed = await train(run, { layers: MODULE, resume: "latest" });
  assertEquals(resumed.losses, own.losses.slice(10));
  assertEquals(await tensorsOf(resumed.result.checkpoint!), whole);
});

Deno.test("loadModel() runs a model with the layers it was trained with when they are given", async () => {
  await using run = await tinyRun();
  const { result } = await train(run, { layers: MODULE });
  const layers = await importLayers(MODULE.href);
  const device = { kind: "cpu", threads: 1 } as const;
  using own = await loadModel(result.checkpoint!, { layers, device });
  // The same weights without the note that they are not BitNet's.
  const file = join(result.checkpoint!, "config.json");
  const { titanbit_own_layers, ...others } = JSON.parse(await Deno.readTextFile(file));
  assertEquals(titanbit_own_layers, ["projection"]);
  await Deno.writeTextFile(file, JSON.stringify(others));
  await Deno.remove(join(result.checkpoint!, "checksums.json"));
  using plain = await loadModel(result.checkpoint!, { device });
  const logits = [own, plain].map(({ model }) => model.forward([1, 2, 3]).logits.slice());
  assertNotEquals(logits[0], logits[1]);
});

Deno.test("loadModel() and a resume refuse a model without the layers it was trained with, an exported one too", async () => {
  await using run = await tinyRun();
  const { result } = await train(run, { layers: MODULE });
  const exported = join(run.folder, "exported");
  await exportModel(result.checkpoint!, exported);
  const message = "as its layers of kind projection must be those of the program that trained it";
  for (const path of [result.checkpoint!, exported]) {
    await assertRejects(
      () => loadModel(path, { device: { kind: "cpu", threads: 1 } }),
      CheckpointError,
      message,
    );
  }
  await assertRejects(
    () => train(run, { resume: "latest", set: ["training.steps=30"] }),
    TrainingError,
    message,
  );
});

Deno.test("runTraining() refuses layers without BitNet's parameters before the first step, and leaves nothing in the run's place", async () => {
  await using run = await tinyRun();
  const layers = await moduleOf(
    run,
    `
import { BitLinear } from "${new URL("../../mod.ts", import.meta.url).href}";
export const layers = { projection: (spec) => {
  const parts = spec.parts.map((part) => ({ ...part, name: part.name + ".inner" }));
  return new BitLinear({ ...spec, parts });
} };`,
  );
  const error = await assertRejects(() => train(run, { layers }), TrainingError);
  assert(/14 tensors missing: .*q_proj\.weight.*declareWeight/.test(error.message), error.message);
  await assertRejects(() => Deno.stat(run.run), Deno.errors.NotFound);
  const { losses } = await train(run, { layers: MODULE });
  assertEquals(losses.length, 20);
  const entries = await Array.fromAsync(Deno.readDir(run.run), ({ name }) => name);
  assert(!entries.includes(".running"), String(entries));
});

for (
  const [when, code, message] of [
    ["is not there", null, /must be importable: current value is .*Module not found/],
    ["exports no layers", "export const layer = {};", /must export an object `layers`.*undefined/],
    [
      "misspells one",
      "export const layers = { projections: () => {} };",
      /named projection, attention, feedForward, head, loss: current value of projections/,
    ],
  ] as const
) {
  Deno.test(`runTraining() names the module when that ${when}`, async () => {
    await using run = await tinyRun();
    const layers = code === null
      ? new URL(`file://${run.folder}/none.ts`)
      : await moduleOf(run, code);
    const error = await assertRejects(() => train(run, { layers }), TrainingError);
    assert(message.test(error.message) && error.message.includes(layers.href), error.message);
  });
}

Deno.test("planMemory() counts what layers of a researcher's own derive from their weights", () => {
  const config = new BitNetConfig({ hiddenSize: 64, numLayers: 1, numHeads: 2, vocabSize: 64 });
  const layers: Partial<Layers> = {
    projection(spec: ProjectionSpec) {
      spec.derived.tensor("more", "float32", [1024]);
      return new BitLinear(spec);
    },
  };
  const shape = { microBatch: 1, seqLen: 16 };
  const more = planMemory(config, { ...shape, layers }).weights - planMemory(config, shape).weights;
  assertEquals(more, 4 * 4096);
});

async function moduleOf(run: TinyRun, code: string): Promise<URL> {
  const path = join(run.folder, "layers.ts");
  await Deno.writeTextFile(path, code);
  return new URL(`file://${path}`);
}
