import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import type { Device } from "../../lib/ffi/device.ts";
import type { MetricsRecord, TernaryRecord } from "../../lib/metrics/records.ts";
import { BitNetConfig, type BitNetConfigOptions } from "../../lib/model/config.ts";
import { BitNetTransformer } from "../../lib/model/transformer.ts";
import type { RunConfig } from "../../lib/config/run_config.ts";
import type { Fault } from "../../lib/stability/faults.ts";
import { MemoryError, planRun, requireMemory } from "../../lib/training/fit.ts";
import { describePlan } from "../../lib/training/memory_plan.ts";
import { NEAR_MARGIN, TernaryStatistics } from "../../lib/training/ternary_statistics.ts";
import { Trainer } from "../../lib/training/trainer.ts";
import {
  quantizedCounts,
  scaleStatistics,
  ternaryCounts,
} from "../kernels/statistics/reference.ts";
import { ternaryOf } from "../kernels/quantize_weight/reference.ts";
import { hasCuda, onEveryDevice, openCpu } from "../support/devices.ts";
import { int8sOf } from "../support/sentinel.ts";
import { recorder, tensorsOf, tinyRun } from "./support.ts";

const NAMES = [
  ...["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"],
  ...["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"],
];

const SHAPE: BitNetConfigOptions = {
  vocabSize: 64,
  hiddenSize: 64,
  numLayers: 3,
  numHeads: 4,
  numKvHeads: 2,
  intermediateSize: 96,
  maxSeqLen: 16,
};

/** A model whose pass has seen tokens, forward and backward. */
function counted(
  device: Device,
  options: { recompute?: "none" | "mlp" | "block"; flipRate?: boolean; config?: object } = {},
) {
  const { recompute = "none", flipRate = true } = options;
  const resources = new DisposableStack();
  const config = new BitNetConfig({ ...SHAPE, ...options.config });
  const model = resources.use(BitNetTransformer.create(config, { device, seed: 3 }));
  const pass = resources.use(model.plan({ sequences: 2, tokens: 16, training: true, recompute }))
    .commit(device);
  const ids = Int32Array.from({ length: 32 }, (_, i) => (i * 29 + 5) % 64);
  pass.ids.upload(ids);
  pass.targets.upload(ids);
  pass.forward();
  pass.backward({ gradScale: 1 / 32 });
  const statistics = resources.use(new TernaryStatistics(model, { pass, flipRate })).commit(device);
  return { model, pass, statistics, [Symbol.dispose]: () => resources.dispose() };
}

/** What a record has to say of the weights of a model, from its latent weights alone. */
function expectedWeights(model: BitNetTransformer, before: Int8Array[] | null) {
  const matrices = model.blocks.flatMap((_, layer) =>
    NAMES.map((name) => model.parameters.get(`model.layers.${layer}.${name}.weight`).value)
  );
  const found = matrices.map((tensor, index) => {
    const w = tensor.toFloat32Array();
    const beta = Math.fround(w.reduce((sum, value) => sum + Math.abs(value), 0) / w.length);
    const q = ternaryOf(w, beta);
    const previous = before?.[index] ?? null;
    const counts = ternaryCounts({ w, q, previous, scale: beta, margin: NEAR_MARGIN });
    return { q, beta, counts, size: w.length };
  });
  const share = (at: number) => found.map(({ counts, size }) => digits(counts[at]! / size));
  return {
    ternary: found.map(({ q }) => q),
    figures: {
      minus: share(0),
      zero: share(1),
      plus: share(2),
      flipped: before === null ? null : share(3),
      near: share(4),
    },
    betas: found.map(({ beta }) => beta),
  };
}

function weightsOf({ minus, zero, plus, flipped, near }: TernaryRecord) {
  return { minus, zero, plus, flipped, near };
}

function inputsOf({ gamma_mean, gamma_max, input_zero, input_clipped }: TernaryRecord) {
  return { gamma_mean, gamma_max, input_zero, input_clipped };
}

function digits(value: number): number {
  return Number(value.toPrecision(6));
}

Deno.test("collect() tells shares, flips and beta of every matrix as its latent weights have them", () => {
  onEveryDevice((device) => {
    using run = counted(device);
    const first = run.statistics.collect(10);
    const before = expectedWeights(run.model, null);
    assertEquals([first.layers, first.step, first.flip_rate, first.flip_steps], [
      3,
      10,
      null,
      null,
    ]);
    assertEquals(first.minus.length, first.layers * first.matrices.length);
    assertEquals(weightsOf(first), before.figures);
    for (const [index, beta] of before.betas.entries()) {
      assertAlmostEquals(first.beta[index]!, beta, 1e-5 * beta);
    }
    // Some weights of one matrix go to the other side.
    const { value } = run.model.parameters.get("model.layers.1.mlp.up_proj.weight");
    value.upload(value.toFloat32Array().map((w, index) => index % 3 === 0 ? -w : w));
    run.model.parametersChanged();
    const second = run.statistics.collect(14);
    const after = expectedWeights(run.model, before.ternary);
    assertEquals(weightsOf(second), after.figures);
    assertEquals(second.flip_steps, 4);
    const changed = 7 + NAMES.indexOf("mlp.up_proj");
    assertEquals(second.flipped!.flatMap((share, index) => share > 0 ? [index] : []), [changed]);
    assertEquals(
      second.flip_rate,
      digits(
        Math.round(second.flipped![changed]! * value.length) /
          before.ternary.reduce((sum, { length }) => sum + length, 0),
      ),
    );
  });
});

for (const activationQuant of ["absmax", "absmean"] as const) {
  Deno.test(`collect() tells gamma, zeros and clipped values of every input under ${activationQuant}`, () => {
    onEveryDevice((device) => {
      using run = counted(device, { config: { activationQuant } });
      const found = run.statistics.collect(1);
      const [low, high, levels] = activationQuant === "absmax"
        ? [-127, 127, 127]
        : [-8, 7, Math.sqrt(7)];
      const inputs: { q: Int8Array; scale: Float32Array }[] = [];
      run.pass.showBlocks(({ attention, feedForward }) => {
        const all = [attention.input, attention.output, feedForward.input, feedForward.down];
        for (const { q, scale } of all) {
          inputs.push({ q: int8sOf(q!), scale: scale!.toFloat32Array() });
        }
      });
      assertEquals(inputs.length, found.layers * found.inputs.length);
      for (const [index, { q, scale }] of inputs.entries()) {
        const [zeros, clipped] = quantizedCounts(q, low, high);
        const [mean, largest] = scaleStatistics(scale);
        assertEquals(found.input_zero[index], digits(zeros! / q.length));
        assertEquals(found.input_clipped[index], digits(clipped! / q.length));
        assertAlmostEquals(found.gamma_mean[index]! / (mean * levels), 1, 1e-5);
        assertAlmostEquals(found.gamma_max[index]! / (largest * levels), 1, 1e-5);
        assert(clipped! > 0, "no value is at a limit");
      }
    });
  });
}

Deno.test("collect() tells the same inputs where the pass recomputes them", () => {
  onEveryDevice((device) => {
    using kept = counted(device);
    const expected = inputsOf(kept.statistics.collect(1));
    for (const recompute of ["mlp", "block"] as const) {
      using run = counted(device, { recompute });
      assertEquals(inputsOf(run.statistics.collect(1)), expected, recompute);
    }
  });
});

Deno.test("collect() tells no flips after forget(), nor without a copy to compare with", () => {
  using device = openCpu();
  using run = counted(device);
  run.statistics.collect(1);
  assertEquals(run.statistics.collect(2).flip_rate, 0);
  run.statistics.forget();
  const { flip_rate, flip_steps, flipped } = run.statistics.collect(3);
  assertEquals([flip_rate, flip_steps, flipped], [null, null, null]);
  using plain = counted(device, { flipRate: false });
  plain.statistics.collect(1);
  assertEquals(plain.statistics.collect(2).flip_rate, null);
  const weights = 3 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 96);
  assertEquals(run.statistics.bytes - plain.statistics.bytes, weights);
});

Deno.test("TernaryStatistics refuses a model that is not ternary", () => {
  using device = openCpu();
  assertThrows(
    () => counted(device, { config: { quantization: "none" } }),
    TypeError,
    "every projection must be a BitLinear: current one is a Linear",
  );
});

async function train(
  config: RunConfig,
  options: {
    resume?: string;
    stopAfter?: number;
    faults?: readonly Fault[];
    maxQueued?: number;
  } = {},
) {
  const { stopAfter, ...rest } = options;
  const observer = recorder();
  using trainer = await Trainer.open(config, { observer, version: "test", ...rest });
  const result = await trainer.run({ shouldStop: () => trainer.state.step === stopAfter });
  return { records: observer.records, tensors: await tensorsOf(result.checkpoint!) };
}

function ternaryOnes(records: readonly MetricsRecord[]): TernaryRecord[] {
  return records.filter((record): record is TernaryRecord => record.type === "ternary");
}

function flipStepsOf(records: readonly MetricsRecord[]): [step: number, since: number | null][] {
  return ternaryOnes(records).map(({ step, flip_steps }) => [step, flip_steps]);
}

const SPIKE: Fault = { kind: "loss", steps: [11], repeat: "once", factor: 50, ms: 0 };
const SNAPSHOTS = [
  "stability.warmup_steps=2",
  "stability.snapshot_every=4",
  "stability.stable_after=1",
  "stability.on_spike=rollback",
];
const COUNTS = ["logging.ternary_every=3", "logging.flip_rate=true"];

for (const kind of ["cpu", "cuda"] as const) {
  const ignore = kind === "cuda" && !hasCuda();
  for (const recompute of ["none", "mlp", "block"]) {
    Deno.test({
      name: (ignore ? "cuda: no device found, skipped: " : "") +
        `run() on ${kind} with recompute ${recompute} ends in the same bits when it counts and when it does not`,
      ignore,
      fn: async () => {
        await using run = await tinyRun();
        const set = [`training.device=${kind}`, `training.recompute=${recompute}`];
        const plain = await train(run.config(...set, "logging.ternary_every=0"));
        const counting = await train(run.config(...set, ...COUNTS, "checkpoint.run=counting"));
        assertEquals(counting.tensors, plain.tensors);
        assertEquals(ternaryOnes(plain.records), []);
        assertEquals(flipStepsOf(counting.records), [
          ...[[3, null], [6, 3], [9, 3], [12, 3], [15, 3], [18, 3]] as [number, number | null][],
        ]);
        const last = ternaryOnes(counting.records).at(-1)!;
        assert(last.flip_rate! > 0 && last.flip_rate! < 0.5, `flip rate ${last.flip_rate}`);
        assert(last.zero_share > 0.2 && last.zero_share < 0.5, `zeros ${last.zero_share}`);
      },
    });
  }
}

Deno.test("run() tells the same counts when it was interrupted and resumed, but for the first flips", async () => {
  await using run = await tinyRun();
  const straight = await train(run.config(...COUNTS, "checkpoint.run=straight"));
  await train(run.config(...COUNTS), { stopAfter: 7 });
  const resumed = await train(run.config(...COUNTS), { resume: "latest" });
  assertEquals(flipStepsOf(resumed.records), [[9, null], [12, 3], [15, 3], [18, 3]]);
  const plain = (records: readonly MetricsRecord[]) =>
    ternaryOnes(records).slice(-3).map((record) => ({ ...record, collect_ms: 0 }));
  assertEquals(plain(resumed.records), plain(straight.records));
});

Deno.test("run() tells no flips of the first interval after it went back", async () => {
  await using run = await tinyRun();
  const config = run.config(...COUNTS, ...SNAPSHOTS);
  const { records } = await train(config, { faults: [SPIKE] });
  const back = records.findIndex((one) => one.type === "stability" && one.event === "rollback");
  assert(back > 0, "no rollback");
  const [first, second] = flipStepsOf(records.slice(back));
  assertEquals([first![1], second![1]], [null, 3]);
  assertEquals(flipStepsOf(records.slice(0, back)).at(-1), [9, 3]);
});

Deno.test("run() judges the steps that are queued before it counts", async () => {
  await using run = await tinyRun();
  const set = ["logging.every_steps=20", "logging.ternary_every=11", "training.steps=14"];
  const config = run.config(...SNAPSHOTS, ...set);
  const { records } = await train(config, { faults: [SPIKE], maxQueued: 8 });
  const seen = records.map(({ type, step }) => `${type} ${step}`);
  assertEquals(seen.filter((one) => one === "ternary 11").length, 1);
  assert(seen.indexOf("ternary 11") > seen.lastIndexOf("stability 11"), seen.join());
});

Deno.test("run() tells the inputs of training, not those of an evaluation after the same step", async () => {
  await using run = await tinyRun();
  const set = [...COUNTS, "training.steps=6", "optimizer.schedule.warmup_steps=1"];
  const told = async (evalEvery: number) => {
    const name = [`training.eval_every=${evalEvery}`, `checkpoint.run=every_${evalEvery}`];
    const { records } = await train(run.config(...set, ...name));
    return ternaryOnes(records).map(inputsOf);
  };
  assertEquals(await told(3), await told(0));
});

Deno.test("planRun() counts the copy of the ternary weights where flips are asked for", async () => {
  await using run = await tinyRun();
  const plan = (...set: string[]) => planRun(run.config("model.num_layers=40", ...set), "float32");
  const none = plan("logging.ternary_every=0", "logging.flip_rate=true");
  const plain = plan(), flips = plan("logging.flip_rate=true");
  const weights = 40 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 128);
  assertEquals(none.statistics, 0);
  assertEquals(flips.statistics - plain.statistics, weights);
  assertEquals(flips.total - plain.total, weights);
  assert(!describePlan(plain).includes("statistics"));
  assertStringIncludes(describePlan(flips), " + statistics 0.00");
});

Deno.test("requireMemory() names the flip rate first among what would make a run fit", async () => {
  await using run = await tinyRun();
  const config = run.config("model.num_layers=40", "logging.flip_rate=true");
  const { total, statistics } = planRun(config, "float32");
  const device = { backend: "cpu", name: "a CPU", dtype: "float32", freeBytes: 0 } as const;
  const memoryBytes = total - statistics / 2;
  const { message } = assertThrows(
    () => requireMemory(config, { ...device, memoryBytes }),
    MemoryError,
  );
  assertStringIncludes(message, "first:\n  --set logging.flip_rate=false (");
});
