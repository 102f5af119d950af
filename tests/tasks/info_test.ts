import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { fromFileUrl } from "@std/path";
import meta from "../../deno.json" with { type: "json" };
import { runCommand } from "../../lib/cli/command.ts";
import { BitNetConfig } from "../../lib/model/config.ts";
import { presetOptions } from "../../lib/model/presets.ts";
import { BitNetTransformer } from "../../lib/model/transformer.ts";
import { AdamW } from "../../lib/optim/adamw.ts";
import { command } from "../../tasks/info.ts";
import { captureConsole } from "../support/console.ts";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));
const CONFIGS = `${ROOT}configs/`;

async function info(...argv: string[]) {
  return await captureConsole(() => runCommand(command, argv));
}

async function infoJson(...argv: string[]) {
  const { code, stdout, stderr } = await info(...argv, "--json");
  assertEquals([code, stderr], [0, ""]);
  return JSON.parse(stdout);
}

Deno.test("info shows every section for a named size, in any case", async () => {
  const { code, stdout } = await info("--model-size", "125m", "--no-measure");
  assertEquals(code, 0);
  for (
    const part of [
      "125M: 12 layers of 768, 12 heads of 64, MLP 2560, 32000 tokens, tied, ternary",
      "embedding  24.6M   19.9%",
      "ternary    99.1M   80.1%",
      "Training memory, micro-batch 1 x 2048 tokens",
      "Packed for inference",
      "float32 : packed, projections  16.00 : 1",
      "forward, int8",
      "2.47B", // 20 tokens a parameter
      "not measured: --no-measure",
      "Found here (Deno ",
      "libtitanbit_cpu.so",
    ]
  ) assertStringIncludes(stdout, part);
});

Deno.test("info without a model shows which TitanBit it is, what was found and nothing else", async () => {
  const { stdout } = await info();
  assertMatch(stdout, /^TitanBit \d+\.\d+\.\d+(, commit [0-9a-f]{40})?\n\nFound here/);
});

Deno.test("info --json has parts that add up", async () => {
  const { parameters, training_memory: memory, flops_per_token: flops } = await infoJson(
    "--model-size=350M",
    "--no-measure",
  );
  const { embedding, attention, mlp, norms, head, total } = parameters;
  assertEquals(embedding + attention + mlp + norms + head, total);
  assertEquals(
    memory.weights_bytes + memory.gradients_bytes + memory.optimizer_bytes +
      memory.activations_bytes +
      memory.workspace_bytes +
      memory.statistics_bytes,
    memory.total_bytes,
  );
  assertEquals(flops.forward_int8 + flops.forward_float + flops.backward_float, flops.total);
});

Deno.test("info --json has the version, the commit and keys in snake_case alone", async () => {
  const found = await infoJson("--model-size=125M", "--device=cpu");
  const git = await new Deno.Command("sh", {
    args: ["-c", `git -C "$0" rev-parse HEAD || echo null`, ROOT],
    stderr: "null",
  }).output();
  const commit = new TextDecoder().decode(git.stdout).trim();
  assertEquals([found.version, String(found.commit)], [meta.version, commit]);
  const keys = (value: unknown): string[] =>
    typeof value !== "object" || value === null ? [] : Object.entries(value)
      .flatMap(([key, inner]) => Array.isArray(value) ? keys(inner) : [key, ...keys(inner)]);
  assert(keys(found).includes("memory_bytes"));
  assertEquals(keys(found).filter((key) => !/^[a-z0-9_]+$/.test(key)), []);
});

Deno.test("info counts exactly the parameters that the model lays out, and AdamW's two moments of them", async () => {
  const { parameters, training_memory } = await infoJson("--model-size", "125M", "--no-measure");
  using model = new BitNetTransformer(new BitNetConfig(presetOptions("125M")), { training: true });
  assertEquals(model.parameters.count, parameters.total);
  assertEquals(new AdamW(model.parameters).bytes, training_memory.optimizer_bytes);
  assertAlmostEquals(training_memory.optimizer_bytes / (8 * parameters.total), 1, 1e-3);
});

Deno.test("info takes micro-batch, sequence and tokens from a config, and flags go over it", async () => {
  const file = `${CONFIGS}quickstart.yaml`;
  const set = [
    "--set",
    "training.steps=100",
    "--set",
    "training.batch_sequences=6",
    "--set",
    "training.micro_batch=3",
  ];
  const own = await infoJson("--config", file, ...set, "--no-measure");
  const { training_memory: memory, run } = own;
  assertEquals([memory.micro_batch, run.tokens], [3, 100 * 6 * memory.seq_len]);
  const over = await infoJson(
    "--config",
    file,
    "--micro-batch",
    "1",
    "--seq-len",
    "16",
    "--no-measure",
  );
  assertEquals([over.training_memory.micro_batch, over.training_memory.seq_len], [1, 16]);
});

Deno.test("info's activations grow with the micro-batch and shrink with bfloat16, which adds a copy of the head", async () => {
  async function memory(...argv: string[]) {
    return (await infoJson("--model-size", "125M", "--no-measure", ...argv)).training_memory;
  }
  const one = await memory("--activations", "float32");
  const four = await memory("--activations", "float32", "--micro-batch", "4");
  const half = await memory("--activations", "bfloat16");
  assertAlmostEquals(four.activations_bytes / one.activations_bytes, 4, 0.05);
  assert(half.activations_bytes < 0.8 * one.activations_bytes);
  const { vocabSize, hiddenSize } = new BitNetConfig(presetOptions("125M"));
  const head = 2 * vocabSize * hiddenSize;
  assertEquals([four.weights_bytes, half.weights_bytes], [
    one.weights_bytes,
    one.weights_bytes + head,
  ]);
});

Deno.test("info bounds the hours by products that it measured on the device", async () => {
  const { run, speed, flops_per_token: flops, device } = await infoJson(
    "--model-size",
    "125M",
    "--device",
    "cpu",
  );
  assert(device.length > 0 && speed.ternary > 0 && speed.dense > 0);
  const seconds = flops.forward_int8 / speed.ternary +
    (flops.total - flops.forward_int8) / speed.dense;
  assertAlmostEquals(run.max_tokens_per_s * seconds, 1, 1e-9);
  assertAlmostEquals(run.min_hours, (run.tokens * seconds) / 3600, run.min_hours * 1e-9);
});

for (const name of ["125m", "350m", "700m", "default"]) {
  Deno.test(`configs/${name}.yaml fits a 48 GB card`, async () => {
    const { training_memory } = await infoJson(
      "--config",
      `${CONFIGS}${name}.yaml`,
      "--activations",
      "bfloat16",
      "--no-measure",
    );
    assert(
      training_memory.total_bytes < 44.5 * 2 ** 30,
      `${training_memory.total_bytes / 2 ** 30} GiB`,
    );
  });
}

const BAD: [argv: string[], message: string][] = [
  [["--model-size", "1.4B"], "did you mean 1.3B?"],
  [["--model-size", "3B", "--config", "x.yaml"], "exclude each other"],
  [["--set", "a.b=1"], "give --config too"],
  [["--config", "no/such.yaml"], "no/such.yaml: expected a YAML file, got no such file"],
  [["--model-size", "3B", "--seq-len", "4096"], "at most the model's max_seq_len, 2048"],
  [["--model-size", "3B", "--micro-batch", "0"], "at least 1: current value is 0"],
  [["--modelsize", "3B"], "did you mean --model-size?"],
];
for (const [argv, message] of BAD) {
  Deno.test(`info ${argv.join(" ")} is an error on stderr with exit code 1`, async () => {
    const { code, stdout, stderr } = await info(...argv);
    assertEquals([code, stdout], [1, ""]);
    assert(stderr.startsWith("error: "));
    assertStringIncludes(stderr, message);
  });
}

Deno.test("info --layers counts the parameters that layers add", async () => {
  const layers = fromFileUrl(new URL("../training/scale_layers.ts", import.meta.url));
  const size = ["--model-size=125M", "--no-measure"];
  const plain = await infoJson(...size);
  const own = await infoJson(...size, `--layers=${layers}`);
  assertEquals([plain.parameters.own, own.parameters.own], [0, 4 * 12]);
  assertEquals(own.parameters.total - plain.parameters.total, 48);
  assertEquals(own.training_memory.gradients_bytes - plain.training_memory.gradients_bytes, 192);
  const { stdout } = await info(...size, `--layers=${layers}`);
  assertStringIncludes(stdout, "own           48");
});
