import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { loadRunConfig, parseRunConfig } from "../../lib/config/load.ts";
import { fitRun, MemoryError, planRun, requireMemory } from "../../lib/training/fit.ts";
import { planMemory } from "../../lib/training/memory_plan.ts";
import { BitNetConfig } from "../../lib/model/config.ts";
import { FeedForward } from "../../lib/model/feed_forward.ts";
import type { Layers } from "../../lib/model/layers.ts";
import { presetOptions } from "../../lib/model/presets.ts";

const GIB = 2 ** 30;
const RUN = `
model: { size: 125M, max_seq_len: 2048 }
data: { train: train.tokens }
training: { steps: 10, batch_sequences: 48 }
optimizer: { lr: 1e-3 }
`;

function load(...set: string[]) {
  return parseRunConfig(RUN, { file: "run.yaml", set });
}

function card(gib: number) {
  return {
    backend: "cuda",
    name: "a card",
    memoryBytes: gib * GIB,
    freeBytes: gib * GIB,
    dtype: "bfloat16",
  } as const;
}

Deno.test("fitRun() takes the largest micro-batch that fits a card when the config leaves it open", () => {
  const chosen = [8, 24, 80].map((gib) => {
    const { config } = fitRun(load(), card(gib));
    const { microBatch, accumulationSteps } = config.training;
    assertEquals(microBatch * accumulationSteps, 48);
    assert(planRun(config, "bfloat16").total <= gib * GIB);
    const larger = [1, 2, 3, 4, 6, 8, 12, 16, 24, 48].find((divisor) => divisor > microBatch);
    if (larger !== undefined) {
      const { config: changed } = load(`training.micro_batch=${larger}`);
      assert(planRun(changed, "bfloat16").total > (gib - 1.6) * GIB, `${larger} would fit`);
    }
    return microBatch;
  });
  assert(chosen[0]! < chosen[1]! && chosen[1]! < chosen[2]!, String(chosen));
});

Deno.test("fitRun() leaves room for what layers of the user's own take", () => {
  const layers: Partial<Layers> = {
    feedForward(context, layer) {
      context.derived.tensor(`more.${layer}`, "float32", [2 ** 28]); // 1 GiB a layer of twelve
      return new FeedForward(context, layer);
    },
  };
  const own = fitRun(load(), card(24), { layers }).config;
  const { microBatch } = fitRun(load(), card(24)).config.training;
  assert(own.training.microBatch < microBatch, `${own.training.microBatch} and ${microBatch}`);
  assert(planRun(own, "bfloat16", { layers }).total <= 24 * GIB);
});

Deno.test("fitRun() says in the resolved config why it chose", () => {
  const { config, defaults } = fitRun(load(), card(24));
  const choice = defaults.find(({ key }) => key === "training.micro_batch")!;
  assertEquals(choice.value, config.training.microBatch);
  assertStringIncludes(choice.reason, "24.00 GiB of a card");
});

Deno.test("fitRun() keeps the config's micro-batch, and the choice for a CPU", () => {
  const given = load("training.micro_batch=2");
  assertEquals(fitRun(given, card(80)), given);
  const open = load();
  assertEquals(fitRun(open, { ...card(80), backend: "cpu", dtype: "float32" }), open);
});

Deno.test("requireMemory() lets a run pass that fits, and names plan and remedies when it does not", () => {
  const { config } = load("training.micro_batch=48");
  requireMemory(config, card(80));
  const { message } = assertThrows(() => requireMemory(config, card(12)), MemoryError);
  assertStringIncludes(message, "Cannot train on a card");
  assertStringIncludes(message, "11.50 GiB that are free");
  assertMatch(message, /weights [\d.]+ \+ gradients [\d.]+ \+ optimizer [\d.]+ \+ activations/);
  assertMatch(message, /\n {2}--set training\.micro_batch=\d+ \([\d.]+ GiB\)/);
  assertStringIncludes(message, "--set training.recompute=");
});

Deno.test("requireMemory() names settings that do fit", () => {
  const { config } = load("training.micro_batch=48");
  const { message } = assertThrows(() => requireMemory(config, card(6)), MemoryError);
  const lines = message.split("\n").filter((line) => line.startsWith("  --set"));
  assert(lines.length > 0, message);
  for (const line of lines) {
    const set = [...line.matchAll(/--set (\S+)/g)].map(([, assignment]) => assignment!);
    const { config: changed } = load("training.micro_batch=48", ...set);
    requireMemory(changed, card(6));
    const stated = Number(/\(([\d.]+) GiB\)/.exec(line)![1]);
    assertEquals((planRun(changed, "bfloat16").total / GIB).toFixed(2), stated.toFixed(2));
  }
});

Deno.test("requireMemory() says so when nothing makes a run fit", () => {
  const { config } = load("model.size=3B");
  assertThrows(() => requireMemory(config, card(4)), MemoryError, "no setting makes it fit");
});

Deno.test("planMemory() needs less with each reduced state and with bfloat16 gradients", () => {
  const model = new BitNetConfig(presetOptions("125M"));
  const plan = (options: object) => planMemory(model, { microBatch: 1, seqLen: 128, ...options });
  const [fp32, bf16, int8] = (["fp32", "bf16", "int8"] as const).map((state) => plan({ state }));
  const ternary = 12 * (4 * 768 * 768 + 3 * 768 * 2560);
  assertEquals(fp32!.optimizer - bf16!.optimizer, 4 * ternary);
  const saved = bf16!.optimizer - int8!.optimizer;
  assert(saved > 1.9 * ternary && saved <= 2 * ternary, String(saved / ternary));
  const half = plan({ gradientDtype: "bfloat16" });
  assertEquals(fp32!.gradients - half.gradients, 2 * ternary);
});

// The sizes' memory that docs/benchmarks.md measures on a card, less what the driver and the library take beside the plan.
for (
  const [file, gigabytes] of [
    ["125m", 4],
    ["350m", 8],
    ["700m", 14],
    ["default", 22],
    ["3b", 42],
  ] as const
) {
  Deno.test(`configs/${file}.yaml plans to train within ${gigabytes} GB`, async () => {
    const path = fromFileUrl(new URL(`../../configs/${file}.yaml`, import.meta.url));
    const { config } = await loadRunConfig(path);
    assert(planRun(config, "bfloat16").total < (gigabytes - 1.1) * 1e9);
  });
}
