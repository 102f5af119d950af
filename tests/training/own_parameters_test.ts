/** Whole runs with parameters that a program's own layers add. */

import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { CheckpointError } from "../../lib/checkpoint/errors.ts";
import { openCheckpoint } from "../../lib/checkpoint/open.ts";
import { runCommand } from "../../lib/cli/command.ts";
import { SafetensorsFile } from "../../lib/interop/safetensors.ts";
import type { StepRecord } from "../../lib/metrics/records.ts";
import { memoryShapeOf, planMemory } from "../../lib/training/memory_plan.ts";
import { runTraining, TrainingError } from "../../lib/training/run.ts";
import { Arena, BitNetConfig, BitNetTransformer, loadModel, ParameterStore } from "../../mod.ts";
import { command } from "../../tasks/export.ts";
import { captureConsole } from "../support/console.ts";
import { openCpu } from "../support/devices.ts";
import { layers, ScaledBitLinear } from "./scale_layers.ts";
import { recorder, tensorsOf, type TinyRun, tinyRun } from "./support.ts";

const MODULE = new URL("./scale_layers.ts", import.meta.url);
/** Projections of each of the two blocks; q, k and v are one, as are gate and up. */
const SCALES = [0, 1].flatMap((layer) =>
  ["self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj"]
    .map((name) => `model.layers.${layer}.${name}.scale`)
);
/** Of these in a file. */
const FIRST = "model.layers.0.mlp.down_proj.scale";

async function train(
  run: TinyRun,
  options: { set?: string[]; layers?: URL | null; resume?: string } = {},
) {
  const observer = recorder();
  const { set = [], layers = MODULE, ...rest } = options;
  const config = run.config("training.threads=1", ...set);
  const result = await runTraining(config, {
    ...(layers !== null && { layers }),
    ...rest,
    version: "test",
    observer,
  });
  const steps = observer.records.filter((record): record is StepRecord => record.type === "step");
  return { checkpoint: result.checkpoint!, steps, records: observer.records };
}

/** Float32 tensors of a file by name. */
async function valuesOf(file: string): Promise<Map<string, number[]>> {
  using tensors = SafetensorsFile.open(file);
  const values = new Map<string, number[]>();
  for (const [name, { begin, end }] of tensors.tensors) {
    const bytes = new Uint8Array(end - begin);
    await tensors.readInto(name, bytes, 0);
    values.set(name, [...new Float32Array(bytes.buffer)]);
  }
  return values;
}

Deno.test("the learned factor's gradient is the sum of dy y / s, over micro-batches too", () => {
  using device = openCpu();
  using parameters = new ParameterStore();
  using derived = new Arena("derived");
  using arena = new Arena("test");
  const config = new BitNetConfig({ hiddenSize: 2, numHeads: 1, numLayers: 1, vocabSize: 4 });
  const parts = [{ name: "a", outFeatures: 2 }, { name: "b", outFeatures: 1 }];
  const spec = {
    ...{ config, parameters, derived, dtype: "float32" as const, parts, inFeatures: 2 },
    log: () => {},
  };
  const projection = new ScaledBitLinear(spec);
  const q = arena.tensor("q", "int8", [1, 2]), scale = arena.tensor("scale", "float32", [1]);
  const y = arena.tensor("y", "float32", [1, 3]), dy = arena.tensor("dy", "float32", [1, 3]);
  const dx = arena.tensor("dx", "float32", [1, 2]);
  parameters.layOut({ gradients: true });
  for (const memory of [parameters, derived, arena]) memory.commit(device);
  // β is 1 and 2, T(W) is (1, -1; 1, 1) and (0, 1), x is (3, 5) and s is 4.
  projection.weight.value.upload(Float32Array.of(1, -1, 1, 1, 0, 4));
  projection.factor.value.upload(Float32Array.of(4));
  q.upload(Int8Array.of(3, 5));
  scale.upload(Float32Array.of(1));
  projection.prepare();
  projection.forward({ q, scale, y: null }, y);
  assertEquals([...y.toFloat32Array()], [-8, 32, 40]);
  dy.upload(Float32Array.of(1, 0.5, -1));
  projection.backward({ q, scale, y: null }, dy, dx, { accumulate: false });
  assertEquals([...projection.factor.grad.toFloat32Array()], [(-8 + 16 - 40) / 4]);
  projection.backward({ q, scale, y: null }, dy, dx, { accumulate: true });
  assertEquals([...projection.factor.grad.toFloat32Array()], [2 * (-8 + 16 - 40) / 4]);
});

Deno.test("runTraining() trains, counts and saves parameters that layers add, and starts BitNet's own from the same bits", async () => {
  await using run = await tinyRun();
  const { checkpoint, records } = await train(run);
  const plain = await train(run, { layers: null, set: ["checkpoint.run=plain"] });
  const parameters = (from: typeof records) => {
    const [first] = from;
    return first?.type === "run" ? first.parameters : NaN;
  };
  assertEquals(parameters(records) - parameters(plain.records), SCALES.length);
  const weights = await valuesOf(join(checkpoint, "model.safetensors"));
  const scales = SCALES.map((name) => weights.get(name)!);
  assert(scales.every(([s, ...more]) => more.length === 0 && s! > 0.5 && s! !== 1), String(scales));
  const moments = await valuesOf(join(checkpoint, "optimizer.safetensors"));
  assert(SCALES.every((name) => moments.get(`${name}.exp_avg_sq`)![0]! > 0));
  assertEquals(
    (await openCheckpoint(checkpoint)).ownParameters,
    SCALES.map((name) => ({ name, shape: [1], group: "scales" })),
  );
  const { model } = run.config();
  const options = { device: { kind: "cpu", threads: 1 }, seed: 7 } as const;
  using bare = BitNetTransformer.create(model, options);
  using own = BitNetTransformer.create(model, { ...options, layers });
  const fresh = own.stateDict();
  for (const [name, { values }] of Object.entries(bare.stateDict())) {
    assertEquals(fresh[name]!.values, values, name);
  }
  assertEquals([...fresh[SCALES[0]!]!.values], [1]);
});

Deno.test("runTraining() that is killed goes on from its checkpoint to the same bits, parameters that layers add among them", async () => {
  await using run = await tinyRun();
  const set = ["training.steps=40", "checkpoint.every_steps=5"];
  const straight = await train(run, { set: [...set, "checkpoint.run=straight"] });
  const script = join(run.folder, "run.ts");
  const mod = new URL("../../mod.ts", import.meta.url).href;
  await Deno.writeTextFile(
    script,
    `
import { loadRunConfig, runTraining } from "${mod}";
const { config } = await loadRunConfig("${run.file}", { set: ${
      JSON.stringify(["training.threads=1", ...set])
    } });
await runTraining(config, {
  layers: new URL("${MODULE.href}"),
  version: "test",
  observer: {
    record: ({ type }) => type === "checkpoint" && Deno.kill(Deno.pid, "SIGKILL"),
    warn: console.error,
  },
});
`,
  );
  const config = `--config=${fromFileUrl(new URL("../../deno.json", import.meta.url))}`;
  const { signal } = await new Deno.Command("deno", {
    args: ["run", "-A", "--no-check", config, script],
  }).output();
  assertEquals(signal, "SIGKILL");
  const resumed = await train(run, { set, resume: "latest" });
  assert(resumed.steps.length < 40, "it was killed at its end");
  assertEquals(await tensorsOf(resumed.checkpoint), await tensorsOf(straight.checkpoint));
});

for (const state of ["fp32", "int8"] as const) {
  Deno.test(`runTraining() treats parameters that layers add as their groups say, with moments in ${state}`, async () => {
    await using run = await tinyRun();
    const options = {
      layers: new URL("./more_layers.ts", import.meta.url),
      set: [`optimizer.state=${state}`, "optimizer.weight_decay=0.5"],
    };
    const { checkpoint, steps } = await train(run, options);
    const weights = await valuesOf(join(checkpoint, "model.safetensors"));
    // No gradient reaches them, so that decay alone moves those that have it, by each step's rate.
    const left = steps.reduce((product, { lr }) => product * (1 - 0.5 * lr), 1);
    const near = (name: string, value: number) =>
      weights.get(name)!.forEach((found) => assertAlmostEquals(found, value, 1e-5, name));
    near("more.matrix", 0.25 * left);
    near("more.shrunk", 2 * left);
    assert(left < 0.99, String(left));
    assertEquals(weights.get("more.norm"), [1, 1, 1]);
    assertEquals(weights.get("more.kept"), [2, 2, 2, 2]);
    const whole = await tensorsOf(checkpoint);
    await Deno.remove(checkpoint, { recursive: true });
    const resumed = await train(run, { ...options, resume: "latest" });
    assertEquals(resumed.steps.length, 10);
    assertEquals(await tensorsOf(resumed.checkpoint), whole);
  });
}

Deno.test("runTraining() refuses to go on with layers that add other parameters, and names them", async () => {
  await using run = await tinyRun();
  await train(run);
  const { message } = await assertRejects(
    () =>
      train(run, {
        set: ["training.steps=30"],
        resume: "latest",
        layers: new URL("./row_layers.ts", import.meta.url),
      }),
    TrainingError,
  );
  assert(message.includes(`8 tensors not part of the model: "${FIRST}"`), message);
});

Deno.test("export holds parameters that layers add, loadModel() takes them with those layers and refuses them without", async () => {
  await using run = await tinyRun();
  const { checkpoint } = await train(run);
  const exported = join(run.folder, "exported");
  const { stderr } = await captureConsole(() =>
    runCommand(command, ["--checkpoint", checkpoint, "--output", exported])
  );
  assertStringIncludes(
    stderr,
    "warning: the model's layers of kind projection are a program's own",
  );
  assertEquals(
    await Deno.readFile(join(exported, "model.safetensors")),
    await Deno.readFile(join(checkpoint, "model.safetensors")),
  );
  const device = { kind: "cpu", threads: 1 } as const;
  const ids = [1, 2, 3, 4];
  using here = await loadModel(checkpoint, { layers, device });
  using there = await loadModel(exported, { layers, device });
  assertEquals(there.model.forward(ids).logits, here.model.forward(ids).logits);
  const weights = await valuesOf(join(exported, "model.safetensors"));
  const [scale] = weights.get(SCALES[0]!)!;
  assertEquals(there.model.stateDict()[SCALES[0]!]!.values[0], scale);
  await assertRejects(() => loadModel(exported, { device }), CheckpointError, "projection");
  // A folder that does not say whose they are is refused by their names.
  const file = join(exported, "config.json");
  const { titanbit_own_parameters: _, ...others } = JSON.parse(await Deno.readTextFile(file));
  await Deno.writeTextFile(file, JSON.stringify(others));
  await assertRejects(
    () => loadModel(exported, { layers, device }),
    CheckpointError,
    `8 tensors not part of the model: "${FIRST}"`,
  );
});

Deno.test("planMemory() counts parameters that layers add", async () => {
  await using run = await tinyRun();
  const config = run.config("optimizer.state=int8");
  const shape = memoryShapeOf(config, "float32");
  const own = planMemory(config.model, { ...shape, layers });
  const plain = planMemory(config.model, shape);
  // Eight float32: a block of 64 bytes for the values, for the gradients and for each of two
  // moments.
  assertEquals(own.weights - plain.weights, 64);
  assertEquals(own.gradients - plain.gradients, 64);
  assertEquals(own.optimizer - plain.optimizer, 2 * 64);
});
