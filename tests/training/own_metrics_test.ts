/** Metrics of a program's own, from layers, observers and loops, on their way to every sink. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { TrainingReport } from "../../lib/cli/training_report.ts";
import { RunHistory } from "../../lib/history/run_history.ts";
import type { MetricsRecord, StepRecord } from "../../lib/metrics/records.ts";
import { readRecords } from "../../lib/metrics/sinks.ts";
import { type RunOptions, runTraining } from "../../lib/training/run.ts";
import { AdamW, BitNetConfig, BitNetTransformer, LoopRecorder } from "../../mod.ts";
import { readEvents } from "../metrics/event_reader.ts";
import { recorder, tensorsOf, tinyRun } from "./support.ts";

const LAYERS = new URL("./logging_layers.ts", import.meta.url);
const NORM = "model.layers.0.self_attn.q_proj.norm";

const stepsOf = (records: readonly MetricsRecord[]) =>
  records.filter((record): record is StepRecord => record.type === "step");

async function train(
  run: Awaited<ReturnType<typeof tinyRun>>,
  options: { set?: string[]; layers?: URL; record?: RunOptions["observer"]["record"] },
) {
  const told = recorder();
  const { set = [], record, layers } = options;
  const config = run.config("logging.every_steps=5", ...set);
  const result = await runTraining(config, {
    version: "0",
    ...(layers && { layers }),
    observer: {
      ...told,
      record(one, log) {
        told.record(one);
        record?.(one, log);
      },
    },
  });
  const written = stepsOf(await readRecords(config.logging.jsonl!));
  return { result, told, written };
}

Deno.test("what a layer logs is asked for at logging steps alone, and changes no bit of a run", async () => {
  await using run = await tinyRun();
  const { told, result, written } = await train(run, { layers: LAYERS });
  assertEquals(written.map(({ step }) => step), [1, 5, 10, 15, 20]);
  assertEquals(written, stepsOf(told.records));
  assertEquals(written.map(({ metrics }) => metrics!.asked), [1, 2, 3, 4, 5]);
  // The weights are prepared before the first step and after each.
  assertEquals(written.map(({ metrics }) => metrics!.prepared), [2, 6, 11, 16, 21]);
  assertEquals(written.map(({ metrics }) => metrics!.broken), [null, null, null, null, null]);
  assertEquals(Object.keys(written[0]!.metrics!).length, 8 + 3);
  const norms = written.map(({ metrics }) => metrics![NORM]!);
  assert(norms.every((norm, i) => norm > 0 && norm !== norms[i + 1]), `${norms}`);
  const plain = await train(run, { set: ["checkpoint.run=plain"] });
  assertEquals(await tensorsOf(plain.result.checkpoint!), await tensorsOf(result.checkpoint!));
});

Deno.test("metrics of one's own reach JSONL, TensorBoard, Prometheus, the console and the dashboard's history", async () => {
  await using run = await tinyRun();
  const lines: string[] = [];
  const output = { write: (text: string) => void lines.push(text), columns: () => null };
  const report = new TrainingReport({ steps: 20, style: "plain", output });
  const notes: string[] = [];
  let scraped = Promise.resolve("");
  const told = recorder();
  const config = run.config(
    ...["logging.prometheus=0", `logging.tensorboard=${join(run.folder, "tb")}`],
    "logging.every_steps=10",
  );
  await runTraining(config, {
    version: "0",
    layers: LAYERS,
    observer: {
      warn: told.warn,
      note: (message) => void notes.push(message),
      record(record, log) {
        if (record.type === "step") log({ "loss.twice": 2 * record.loss });
        report.record(record);
        if (record.type !== "step" || record.step !== 10) return;
        const url = notes[0]!.replace("metrics are at ", "");
        scraped = fetch(url).then((response) => response.text());
      },
    },
  });
  const written = stepsOf(await readRecords(config.logging.jsonl!));
  const twice = written.map(({ loss, metrics }) => [2 * loss, metrics!["loss.twice"]]);
  assertEquals(twice.length, 3);
  for (const [expected, actual] of twice) assertEquals(actual, expected);
  const norm = written[1]!.metrics![NORM]!;
  const text = await scraped;
  assert(
    text.includes(`titanbit_metrics_${NORM.replaceAll(".", "_")}{run="tiny"} ${norm}\n`),
    text,
  );
  assertMatch(text, /^titanbit_metrics_loss_twice\{run="tiny"\} \d/m);
  assert(!text.includes("metrics_broken{"), "a value that is not finite has no sample");
  const [file] = [...Deno.readDirSync(join(run.folder, "tb", "tiny"))];
  const events = await readEvents(join(run.folder, "tb", "tiny", file!.name));
  assertEquals(
    events.flatMap(({ scalars }) =>
      `metrics/${NORM}` in scalars ? [scalars[`metrics/${NORM}`]] : []
    ),
    written.map(({ metrics }) => Math.fround(metrics![NORM]!)),
  );
  assert(lines.some((line) => /q_proj\.norm \d.* and 7 more/.test(line)), lines.join(""));
  const history = new RunHistory();
  history.lines(await Deno.readFile(config.logging.jsonl!));
  assertEquals(
    Array.from(history.steps.get("metrics.loss.twice")!),
    twice.map(([value]) => Math.fround(value!)),
  );
  assertEquals(Array.from(history.steps.get("metrics.broken") ?? []), []);
});

Deno.test("what an observer logs on another record than a step's is the next step's, and told of where none follows", async () => {
  await using run = await tinyRun();
  const { told, written } = await train(run, {
    record(record, log) {
      if (record.type === "run") log({ started: 1 });
      if (record.type === "validation") log({ "validation.loss": record.loss });
    },
  });
  const loss = told.records.find(({ type }) => type === "validation") as { loss: number };
  assertEquals(
    written.map(({ metrics }) => metrics),
    [{ started: 1 }, undefined, undefined, { "validation.loss": loss.loss }, undefined],
  );
  assertEquals(told.warnings, [
    "No record has the last values of validation.loss: they were logged after the last step's",
  ]);
});

Deno.test("runTraining() fails with what an observer throws, such as a name that can't be one", async () => {
  await using run = await tinyRun();
  await assertRejects(
    () => train(run, { record: (_record, log) => log({ "two words": 1 }) }),
    RangeError,
    'current value is "two words"',
  );
});

Deno.test("LoopRecorder records the steps of a loop of one's own, with its metrics and the layers'", async () => {
  const folder = await Deno.makeTempDir();
  const jsonl = join(folder, "loop", "metrics.jsonl");
  const { layers } = await import(LAYERS.href);
  const config = new BitNetConfig({ vocabSize: 64, hiddenSize: 32, numLayers: 1, numHeads: 2 });
  using model = BitNetTransformer.create(config, { device: "cpu", layers });
  using optimizer = new AdamW(model.parameters).commit(model.device);
  const ids = Array.from({ length: 16 }, (_, i) => (5 * i + 3) % 64);
  const losses: number[] = [];
  const warnings: string[] = [];
  const told: MetricsRecord[] = [];
  {
    using recorder = new LoopRecorder(model, {
      ...{ run: "loop", steps: 9, tokensPerStep: 16, everySteps: 4, jsonl },
      tensorboard: join(folder, "tb"),
      observer: { record: (one) => void told.push(one), warn: (text) => void warnings.push(text) },
    });
    for (let step = 1; step <= 9; step++) {
      model.parameters.zeroGradients();
      const { loss } = model.forward(ids, { labels: ids });
      model.backward();
      optimizer.step({ lr: 1e-2, weightDecay: () => 0 });
      model.parametersChanged();
      losses.push(loss!);
      recorder.log({ "loop.step": step });
      recorder.step({ loss: loss!, lr: 1e-2, gradNorm: () => optimizer.gradNorm() });
    }
  }
  const written = await readRecords(jsonl);
  assertEquals(written, told);
  assertEquals(warnings, []);
  assertEquals(written.map(({ type }) => type), ["run", "step", "step", "step", "step", "event"]);
  const steps = stepsOf(written);
  assertEquals(steps.map(({ step, tokens }) => [step, tokens]), [[1, 16], [4, 64], [8, 128], [
    9,
    144,
  ]]);
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  assertEquals(steps[1]!.loss, mean(losses.slice(1, 4)));
  assertEquals(steps.map(({ metrics }) => metrics!["loop.step"]), [1, 4, 8, 9]);
  assert(steps.every(({ metrics, grad_norm }) => metrics![NORM]! > 0 && grad_norm > 0));
  assertEquals(written.at(-1), {
    ...{ type: "event", step: 9, event: "finished", message: "all steps done" },
  });
  await Deno.remove(folder, { recursive: true });
});
