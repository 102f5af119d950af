/** Texts that a model in training writes: what they are, and that training doesn't notice. */

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { loadModel } from "../../lib/inference/load_model.ts";
import { TokenGenerator } from "../../lib/inference/generate.ts";
import type { MetricsRecord, SampleRecord } from "../../lib/metrics/records.ts";
import { KvCache } from "../../lib/model/kv_cache.ts";
import { BitNetTransformer } from "../../lib/model/transformer.ts";
import { loadTokenizer } from "../../lib/tokenizer/tokenizer.ts";
import { planRun } from "../../lib/training/fit.ts";
import { describePlan } from "../../lib/training/memory_plan.ts";
import { sampleBytes, SampleWriter } from "../../lib/training/sample_writer.ts";
import { Trainer } from "../../lib/training/trainer.ts";
import { DataError } from "../../lib/data/errors.ts";
import { writeTokens } from "../data/support.ts";
import { byteTokenizerJson, END_ID } from "../inference/support.ts";
import { hasCuda, onEveryDevice } from "../support/devices.ts";
import { recorder, tensorsOf, type TinyRun, tinyRun } from "./support.ts";

const PROMPTS = ["Once", "a"];

/** Settings of a run whose tokenizer has a token for each byte. */
async function settings(run: TinyRun): Promise<string[]> {
  const tokenizer = join(run.folder, "tokenizer.json");
  await Deno.writeFile(tokenizer, byteTokenizerJson());
  return [
    ...[`data.tokenizer=${tokenizer}`, "model.vocab_size=320"],
    ...[`logging.samples.prompts=${JSON.stringify(PROMPTS)}`, "logging.samples.every_steps=8"],
    "logging.samples.max_tokens=10",
  ];
}

function samplesOf(records: readonly MetricsRecord[]): SampleRecord[] {
  return records.filter((record) => record.type === "sample");
}

async function train(run: TinyRun, set: readonly string[], faults: "none" | "spike" = "none") {
  const observer = recorder();
  using trainer = await Trainer.open(run.config(...set), {
    ...{ observer, version: "test" },
    ...(faults === "spike" &&
      { faults: [{ kind: "loss", steps: [12], factor: 50, repeat: "once", ms: 0 }] }),
  });
  const { checkpoint } = await trainer.run();
  return { records: observer.records, checkpoint: checkpoint! };
}

for (const device of hasCuda() ? ["cpu", "cuda"] : ["cpu"]) {
  Deno.test(`a run on ${device} writes a text for each prompt at its interval and at its end, and ends in the same bits`, async () => {
    await using run = await tinyRun();
    const set = [...await settings(run), `training.device=${device}`];
    // Drawn tokens: their random numbers are not training's.
    const with_ = await train(run, [...set, "logging.samples.temperature=1"]);
    const samples = samplesOf(with_.records);
    assertEquals(
      samples.map(({ step, prompt }) => [step, prompt]),
      [8, 16, 20].flatMap((step) => PROMPTS.map((prompt) => [step, prompt])),
    );
    for (const sample of samples) {
      assertEquals([sample.error, sample.stop], [null, "max_tokens"]);
      assertEquals([sample.prompt_tokens, sample.sample_tokens], [sample.prompt.length, 10]);
      assert(sample.sample_ms > 0);
    }
    const without = await train(run, [
      ...set,
      "logging.samples.every_steps=0",
      "checkpoint.run=without",
    ]);
    assertEquals(samplesOf(without.records), []);
    const numbers = (records: readonly MetricsRecord[]) =>
      records.flatMap((one) => one.type === "step" ? [[one.step, one.loss, one.grad_norm]] : []);
    assertEquals(numbers(with_.records), numbers(without.records));
    assertEquals(await tensorsOf(with_.checkpoint), await tensorsOf(without.checkpoint));
  });

  Deno.test(`a text on ${device} is what the saved model writes`, async () => {
    await using run = await tinyRun();
    const set = [...await settings(run), `training.device=${device}`];
    const { records, checkpoint } = await train(run, set);
    const last = samplesOf(records).filter(({ step }) => step === 20);
    using loaded = await loadModel(checkpoint, { device: device as "cpu" | "cuda" });
    for (const [index, prompt] of PROMPTS.entries()) {
      using generator = new TokenGenerator(loaded.model, { capacity: 32 });
      const ids = [...generator.generate(loaded.tokenizer!.encode(prompt), {
        ...{ maxTokens: 10, temperature: 0, vocabSize: loaded.tokenizer!.vocabSize },
      })];
      const text = new TextDecoder().decode(loaded.tokenizer!.decodeBytes(ids));
      assertEquals(last[index]!.text, text);
    }
  });
}

for (const starts of [true, false]) {
  Deno.test(`a run's prompts begin as its documents do, and its checkpoint says so: ${starts ? "by the tokenizer" : "in an older file"}`, async () => {
    await using run = await tinyRun();
    const file = join(run.folder, "text.tokens");
    const ids = Array.from({ length: 2000 }, (_, i) => i % 40);
    writeTokens(file, { ids, vocabSize: 257, startIds: starts ? [END_ID] : [] });
    const set = [...await settings(run), `data.train=${file}`, "data.validation=null"];
    await Deno.writeFile(join(run.folder, "tokenizer.json"), byteTokenizerJson({ starts: true }));
    const observer = recorder();
    using trainer = await Trainer.open(run.config(...set, "training.eval_every=0"), {
      ...{ observer, version: "test" },
    });
    const { checkpoint } = await trainer.run();
    const counts = samplesOf(observer.records).map((one) => one.prompt_tokens - one.prompt.length);
    assertEquals([...new Set(counts)], [starts ? 1 : 0]);
    const told = observer.warnings.filter((text) => text.includes("begin with no token"));
    assertEquals(told.length, starts ? 0 : 1);
    if (!starts) {
      assertStringIncludes(told[0]!, `tokenizer.json puts the id ${END_ID} before a text`);
    }
    using loaded = await loadModel(checkpoint!, { device: "cpu" });
    assertEquals(loaded.specialTokens.startIds, starts ? [END_ID] : []);
  });
}

Deno.test("Trainer.open() names both files when validation begins documents differently", async () => {
  await using run = await tinyRun();
  const files = [[1], []].map((startIds, i) =>
    writeTokens(join(run.folder, `${i}.tokens`), {
      ...{ ids: Array(400).fill(1), vocabSize: 64, startIds },
    })
  );
  const set = [`data.train=${files[0]}`, `data.validation=${files[1]}`];
  await assertRejects(
    () => Trainer.open(run.config(...set), { observer: recorder(), version: "test" }),
    DataError,
    `Cannot use ${files[1]} with ${files[0]} as documents must begin alike`,
  );
});

Deno.test("a run that goes back writes the texts of its steps again", async () => {
  await using run = await tinyRun();
  const set = [
    ...await settings(run),
    ...["logging.samples.every_steps=10", "stability.snapshot_every=5"],
    ...["stability.warmup_steps=4", "stability.stable_after=2"],
  ];
  const { records } = await train(run, set, "spike");
  const back = records.findIndex((one) => one.type === "stability" && one.event === "rollback");
  assert(back > 0, "there was a rollback");
  const rollback = records[back] as { to_step: number };
  const after = samplesOf(records.slice(back)).map(({ step }) => step);
  const expected = [10, 20].filter((step) => step > rollback.to_step);
  assertEquals(after, expected.flatMap((step) => [step, step]));
});

Deno.test("Trainer.open() refuses a prompt that does not fit a sequence, naming it", async () => {
  await using run = await tinyRun();
  const long = "x".repeat(23);
  const set = [...await settings(run), `logging.samples.prompts=["a", "${long}"]`];
  const { message } = await assertRejects(
    () => Trainer.open(run.config(...set), { observer: recorder(), version: "test" }),
    RangeError,
  );
  assertStringIncludes(message, "must fit training.seq_len (32 tokens)");
  assertStringIncludes(message, `"${long}" has 23`);
});

Deno.test("SampleWriter tells of weights that are no numbers, and goes on when they are again", async () => {
  await using run = await tinyRun();
  const config = run.config(...await settings(run));
  using tokenizer = await loadTokenizer(join(run.folder, "tokenizer.json"));
  onEveryDevice((device) => {
    using model = BitNetTransformer.create(config.model, { device, seed: 5 });
    const { samples } = config.logging;
    using writer = new SampleWriter(model, { samples, tokenizer, startIds: [], seqLen: 32 });
    const write = () => [...writer.write({ step: 3, tokens: 96 })];
    const before = write();
    assertEquals(before.map(({ step, tokens }) => [step, tokens]), [[3, 96], [3, 96]]);
    const { value } = model.parameters.get("model.norm.weight");
    const weights = value.toFloat32Array();
    value.upload(weights.map(() => NaN));
    model.parametersChanged();
    for (const { text, error, stop } of write()) {
      assertEquals([text, stop], ["", null]);
      assertStringIncludes(error!, "logit");
    }
    value.upload(weights);
    model.parametersChanged();
    assertEquals(write().map(({ text }) => text), before.map(({ text }) => text));
  });
});

Deno.test("a run's plan holds the memory of its samples, and says so", async () => {
  await using run = await tinyRun();
  const set = await settings(run);
  const plan = planRun(run.config(...set), "float32");
  const without = planRun(run.config(...set, "logging.samples.every_steps=0"), "float32");
  assertEquals(without.samples, 0);
  assertEquals(plan.total - without.total, plan.samples);
  assertStringIncludes(describePlan(plan), " + samples ");
  const { model: config, logging } = run.config(...set);
  const model = new BitNetTransformer(config, { training: true });
  const { bytes } = new KvCache(config, { sequences: 1, capacity: 16, dtype: "float32" });
  // 4 bytes of prompt, 2 that may begin it, 10 more.
  assert(sampleBytes(model, { samples: logging.samples, seqLen: 32 }) > bytes);
});
