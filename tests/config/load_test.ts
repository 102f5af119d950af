import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { ConfigError } from "../../lib/config/errors.ts";
import { loadRunConfig, parseRunConfig } from "../../lib/config/load.ts";

const MINIMAL = `model:
  size: 125M
data:
  train: train.tokens
training:
  steps: 100
  batch_sequences: 8
optimizer:
  lr: 1e-3
`;

function parse(text: string, set: string[] = []) {
  return parseRunConfig(text, { file: "run.yaml", set });
}

function errorOf(text: string, set: string[] = []): ConfigError {
  return assertThrows(() => parse(text, set), ConfigError);
}

/** The one line that an error says about a key. */
function lineAbout(key: string, text: string, set: string[] = []): string {
  const { message } = errorOf(text, set);
  const line = message.split("\n").find((candidate) => candidate.includes(` ${key}: `));
  assert(line !== undefined, `no line about ${key} in: ${message}`);
  return line.trim();
}

Deno.test("parseRunConfig() fills every open key from a minimal file", () => {
  const { config } = parse(MINIMAL);
  assertEquals(
    { ...config, model: config.model.hiddenSize },
    {
      model: 768,
      data: {
        train: ["train.tokens"],
        validation: null,
        tokenizer: null,
        seed: 1337,
      },
      training: {
        steps: 100,
        seqLen: 2048,
        batchSequences: 8,
        microBatch: 8,
        accumulationSteps: 1,
        tokensPerStep: 16384,
        device: "auto",
        threads: "auto",
        seed: 1337,
        evalEvery: 0,
        evalTokens: 32768,
        computeDtype: "auto",
        recompute: "none",
        gradientDtype: "float32",
      },
      optimizer: {
        name: "adamw",
        lr: 1e-3,
        betas: [0.9, 0.95],
        eps: 1e-8,
        weightDecay: 0.1,
        maxGradNorm: 1,
        state: "fp32",
        schedule: {
          type: "bitnet",
          warmupSteps: 10,
          minLrRatio: 0.02,
          switchAt: 0.5,
          secondLr: 0.000666667,
        },
      },
      stability: config.stability, // of stability_test.ts
      checkpoint: {
        directory: "checkpoints",
        run: "run",
        everySteps: 10,
        keepLast: 3,
        keepEvery: 0,
        saveFinal: true,
      },
      logging: {
        everySteps: 10,
        jsonl: "checkpoints/run/metrics.jsonl",
        prometheus: null,
        tensorboard: null,
        machineEveryS: 10,
        console: "auto",
        peakTflops: null,
        ternaryEvery: 100,
        flipRate: false,
        samples: { everySteps: 0, prompts: [], maxTokens: 64, temperature: 0, seed: 0 },
      },
    },
  );
});

Deno.test("parseRunConfig() gives a reason for each key that was left open and for no other", () => {
  const { defaults } = parse(MINIMAL);
  const keys = defaults.map(({ key }) => key);
  assertEquals(defaults.find(({ key }) => key === "model.hidden_size")?.reason, "size 125M");
  assertEquals(keys.includes("training.steps"), false);
  assertEquals(keys.length, new Set(keys).size);
});

Deno.test("parseRunConfig() turns tokens into steps, rounding up", () => {
  const { config, defaults } = parse(MINIMAL.replace("steps: 100", "tokens: 1e6"));
  assertEquals(config.training.steps, 62); // 1e6 / 16384 = 61.04
  assertEquals(
    defaults.find(({ key }) => key === "training.steps")?.reason,
    "1000000 tokens at 16384 a step",
  );
});

Deno.test("parseRunConfig() lets fields beside size override the preset", () => {
  const { model } = parse(MINIMAL.replace("size: 125M", "size: 1.3b\n  num_kv_heads: 8")).config;
  assertEquals([model.hiddenSize, model.numHeads, model.numKvHeads], [2048, 32, 8]);
});

Deno.test("parseRunConfig() doesn't keep a preset's MLP width and key/value heads beside another shape", () => {
  const { model } =
    parse(MINIMAL.replace("125M", "125M\n  hidden_size: 512\n  num_heads: 8")).config;
  assertEquals([model.intermediateSize, model.numKvHeads], [1536, 8]);
});

Deno.test("parseRunConfig() builds a model from a bare shape", () => {
  const shape = "hidden_size: 64\n  num_layers: 2\n  num_heads: 4\n  max_seq_len: 32";
  const { config } = parse(MINIMAL.replace("size: 125M", shape));
  assertEquals([config.model.intermediateSize, config.training.seqLen], [256, 32]);
});

Deno.test("parseRunConfig() picks a micro-batch that divides the batch within its tokens", () => {
  const { training } = parse(MINIMAL.replace("batch_sequences: 8", "batch_sequences: 12")).config;
  assertEquals([training.microBatch, training.accumulationSteps], [6, 2]); // 6 x 2048 = 12288 <= 16384
});

Deno.test("parseRunConfig() reads a list of training files", () => {
  assertEquals(parse(MINIMAL.replace("train.tokens", "[a, b]")).config.data.train, ["a", "b"]);
});

Deno.test("parseRunConfig() takes a section heading with nothing under it for an empty section", () => {
  assertEquals(parse(MINIMAL + "logging:\n").config.logging.everySteps, 10);
});

Deno.test("parseRunConfig() keeps logging.jsonl null apart from absent", () => {
  assertEquals(parse(MINIMAL + "logging: {jsonl: null}\n").config.logging.jsonl, null);
});

Deno.test("ConfigError names file, line, key, expected, got and the nearest key", () => {
  assertEquals(
    errorOf(MINIMAL.replace("batch_sequences: 8", "batch_sequences: 8\n  stepz: 3")).message,
    "Cannot use run.yaml as a setting is not what was expected:\n" +
      '  run.yaml:8: training.stepz: expected a key of training, got "stepz", did you mean steps?',
  );
});

Deno.test("ConfigError names what took the place of training.eval_batches, in a file and in --set", () => {
  const old = MINIMAL.replace("batch_sequences: 8", "batch_sequences: 8\n  eval_batches: 3");
  const text =
    "expected training.eval_tokens, tokens of an evaluation: micro-batches x micro_batch x seq_len of before";
  assertStringIncludes(errorOf(old).message, `run.yaml:8: training.eval_batches: ${text}, got`);
  const { message } = errorOf(MINIMAL, ["training.eval_batches=3"]);
  assertStringIncludes(message, `--set: training.eval_batches: ${text}, got`);
});

Deno.test("ConfigError lists every known key where none is near", () => {
  assertStringIncludes(
    lineAbout("stability.qqqqqqqqqqqqqqqq", MINIMAL + "stability:\n  qqqqqqqqqqqqqqqq: 1"),
    "expected a key of stability: on_non_finite, on_spike, spike_threshold, ",
  );
});

Deno.test("ConfigError holds all faults of a file at once", () => {
  const { issues } = errorOf(
    MINIMAL.replace("1e-3", "-1").replace("steps: 100", 'steps: "100"').replace("train:", "trian:"),
  );
  assertEquals(
    issues.map(({ key, line }) => [key, line]),
    [["data.train", 3], ["data.trian", 4], ["training.steps", 6], ["optimizer.lr", 9]],
  );
});

const WRONG: [name: string, text: string, key: string, expected: string][] = [
  [
    "text for a number",
    'lr: "1e-3"',
    "optimizer.lr",
    '9: optimizer.lr: expected a number from 1e-8 to 1000, got "1e-3"',
  ],
  ["zero", "lr: 0", "optimizer.lr", "expected a number from 1e-8 to 1000, got 0"],
  ["infinity", "lr: .inf", "optimizer.lr", "expected a number from 1e-8 to 1000, got Infinity"],
  [
    "a wrong choice",
    "lr: 1\n  name: adam",
    "optimizer.name",
    'of adamw, got "adam", did you mean adamw?',
  ],
  [
    "one beta",
    "lr: 1\n  betas: [0.9]",
    "optimizer.betas",
    "a list of two numbers from 0 to 0.999999, got [0.9]",
  ],
  [
    "a beta of 1",
    "lr: 1\n  betas: [0.9, 1]",
    "optimizer.betas.1",
    "a number from 0 to 0.999999, got 1",
  ],
  [
    "a scalar for a section",
    "lr: 1\n  schedule: 3",
    "optimizer.schedule",
    "a section of keys, got 3",
  ],
  [
    "nothing",
    "eps: 1e-8",
    "optimizer.lr",
    "8: optimizer.lr: expected a number from 1e-8 to 1000, got nothing",
  ],
];
for (const [name, text, key, expected] of WRONG) {
  Deno.test(`parseRunConfig() refuses ${name} with key and line`, () => {
    assertStringIncludes(lineAbout(key, MINIMAL.replace("lr: 1e-3", text)), expected);
  });
}

Deno.test("parseRunConfig() refuses a fraction of a step", () => {
  assertStringIncludes(
    lineAbout("training.steps", MINIMAL.replace("100", "1.5")),
    "expected a whole number of at least 1, got 1.5",
  );
});

Deno.test("parseRunConfig() names the nearest preset", () => {
  assertStringIncludes(
    lineAbout("model.size", MINIMAL.replace("125M", "1.4B")),
    "did you mean 1.3B?",
  );
});

const SHAPE = "hidden_size: 96\n  num_layers: 2\n  num_heads: 4";
const IMPOSSIBLE: [name: string, text: string, key: string, expected: string][] = [
  [
    "heads that don't divide hidden",
    MINIMAL.replace("size: 125M", SHAPE.replace("heads: 4", "heads: 5")),
    "model.num_heads",
    "4: model.num_heads: expected a divisor of hidden_size (96), got 5",
  ],
  [
    "an odd head dimension",
    MINIMAL.replace("size: 125M", SHAPE.replace("heads: 4", "heads: 32")),
    "model.num_heads",
    "got 32 (dimension 3)",
  ],
  [
    "a head dimension above 256",
    MINIMAL.replace("125M", "1.3B\n  num_heads: 4"),
    "model.num_heads",
    "got 4 (dimension 512)",
  ],
  [
    "kv heads that don't divide heads",
    MINIMAL.replace("size: 125M", `${SHAPE}\n  num_kv_heads: 3`),
    "model.num_kv_heads",
    "5: model.num_kv_heads: expected a divisor of num_heads (4), got 3",
  ],
  [
    "a batch that doesn't fit accumulation",
    MINIMAL.replace("batch_sequences: 8", "batch_sequences: 9\n  micro_batch: 6"),
    "training.micro_batch",
    "8: training.micro_batch: expected a divisor of batch_sequences (9), so that accumulation makes up whole " +
    "steps, got 6; the nearest below is 3",
  ],
  [
    "a micro-batch above the batch",
    MINIMAL.replace("batch_sequences: 8", "batch_sequences: 8\n  micro_batch: 16"),
    "training.micro_batch",
    "the nearest below is 8",
  ],
  [
    "sequences longer than the model's",
    MINIMAL.replace("steps: 100", "steps: 100\n  seq_len: 4096"),
    "training.seq_len",
    "expected at most model.max_seq_len (2048), got 4096",
  ],
  [
    "warm-up past the end",
    MINIMAL + "  schedule:\n    warmup_steps: 200\n",
    "optimizer.schedule.warmup_steps",
    "11: optimizer.schedule.warmup_steps: expected at most the steps of the run (100), got 200",
  ],
  [
    "steps and tokens together",
    MINIMAL.replace("steps: 100", "steps: 100\n  tokens: 1e9"),
    "training.tokens",
    "expected one of training.steps and training.tokens, got both",
  ],
  [
    "neither steps nor tokens",
    MINIMAL.replace("  steps: 100\n", ""),
    "training.steps",
    "expected training.steps or training.tokens, got neither",
  ],
  [
    "a key of another schedule",
    MINIMAL + "  schedule:\n    type: cosine\n    switch_at: 0.5\n",
    "optimizer.schedule.switch_at",
    "expected schedule type bitnet beside switch_at, got cosine",
  ],
  [
    "a wsd decay that overlaps warm-up",
    MINIMAL + "  schedule: {type: wsd, warmup_steps: 50, decay_fraction: 0.6}\n",
    "optimizer.schedule.decay_fraction",
    "leaves room for 50 warm-up steps of 100",
  ],
  [
    "bfloat16 on a CPU",
    MINIMAL.replace("steps: 100", "steps: 100\n  device: cpu\n  compute_dtype: bfloat16"),
    "training.compute_dtype",
    "expected auto or float32 where training.device is cpu",
  ],
  [
    "bfloat16 gradients on a CPU",
    MINIMAL.replace("steps: 100", "steps: 100\n  device: cpu\n  gradient_dtype: bfloat16"),
    "training.gradient_dtype",
    "expected float32 where training.device is cpu",
  ],
  [
    "evaluation without data",
    MINIMAL.replace("steps: 100", "steps: 100\n  eval_every: 10"),
    "training.eval_every",
    "expected 0 where data.validation is absent, got 10",
  ],
  [
    "validation on training data",
    MINIMAL.replace("train.tokens", "train.tokens\n  validation: train.tokens"),
    "data.validation",
    "expected a file that isn't trained on",
  ],
  [
    "keep_every that no checkpoint meets",
    MINIMAL + "checkpoint: {every_steps: 10, keep_every: 25}\n",
    "checkpoint.keep_every",
    "expected 0 or a multiple of checkpoint.every_steps (10), got 25",
  ],
  [
    "a run name that leaves the folder",
    MINIMAL + "checkpoint:\n  run: ../up\n",
    "checkpoint.run",
    "expected a folder's name",
  ],
  [
    "no size and no shape",
    MINIMAL.replace("size: 125M", "vocab_size: 100"),
    "model.hidden_size",
    "or model.size with the name of a preset, got nothing",
  ],
];
for (const [name, text, key, expected] of IMPOSSIBLE) {
  Deno.test(`parseRunConfig() refuses ${name}`, () => {
    assertStringIncludes(lineAbout(key, text), expected);
  });
}

Deno.test("parseRunConfig() reports impossible combinations of several sections at once", () => {
  const { issues } = errorOf(
    MINIMAL.replace("size: 125M", SHAPE.replace("4", "5")).replace(
      "sequences: 8",
      "sequences: 9\n  micro_batch: 2",
    ),
  );
  assertEquals(issues.map(({ key }) => key), ["model.num_heads", "training.micro_batch"]);
});

Deno.test("parseRunConfig() refuses a key given twice with its line", () => {
  const { message } = errorOf(MINIMAL + "  lr: 2e-3\n");
  assertStringIncludes(message, "run.yaml:10: expected YAML, got a fault in column 3 (");
  assertStringIncludes(message, "duplicated key");
});

Deno.test("parseRunConfig() refuses broken YAML with its line", () => {
  assertStringIncludes(
    errorOf(MINIMAL.replace("train: train", "train: [train")).message,
    "run.yaml:",
  );
  assertEquals(errorOf("model:\n  size: 125M\n a: 1\n").issues[0]?.line, 3);
});

Deno.test("parseRunConfig() refuses YAML that isn't a mapping", () => {
  assertStringIncludes(
    errorOf("- a\n- b\n").message,
    "expected the sections model, data, training",
  );
});

Deno.test("parseRunConfig() says what an empty file lacks", () => {
  assertEquals(
    errorOf("").issues.map(({ key }) => key),
    ["data.train", "training.batch_sequences", "optimizer.lr"],
  );
});

Deno.test("parseRunConfig() refuses a key that would change an object's prototype", () => {
  assertEquals(errorOf(MINIMAL + "__proto__: {lr: 1}\n").issues[0]?.key, "__proto__");
});

Deno.test("loadRunConfig() names a file that doesn't exist", async () => {
  const error = await assertRejects(() => loadRunConfig("no/such.yaml"), ConfigError);
  assertStringIncludes(error.message, "no/such.yaml: expected a YAML file, got no such file");
});

Deno.test("loadRunConfig() refuses a binary file", async () => {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeFile(path, new Uint8Array([0xff, 0xfe, 0x00, 0x80]));
    await assertRejects(() => loadRunConfig(path), ConfigError, "not UTF-8");
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("loadRunConfig() refuses a file without end by its length", async () => {
  const path = await Deno.makeTempFile();
  try {
    await Deno.truncate(path, 2 ** 40);
    const got = "expected a YAML file of at most 1048576 bytes, got 1099511627776 bytes";
    await assertRejects(() => loadRunConfig(path), ConfigError, got);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("loadRunConfig() names the run after the file", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/my run.v2.yaml`, MINIMAL);
    assertEquals(
      (await loadRunConfig(`${folder}/my run.v2.yaml`)).config.checkpoint.run,
      "my-run.v2",
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("--set goes over the file, reads YAML, and the last of a key wins", () => {
  const { config } = parse(MINIMAL, [
    "optimizer.lr=1",
    "optimizer.lr=2e-4",
    "optimizer.betas=[0.8, 0.9]",
    "optimizer.schedule.type=cosine",
    "logging.jsonl=null",
    "checkpoint.run=a=b".replace("=b", "-b"),
  ]);
  assertEquals(config.optimizer.lr, 2e-4);
  assertEquals(config.optimizer.betas, [0.8, 0.9]);
  assertEquals(config.optimizer.schedule.type, "cosine");
  assertEquals([config.logging.jsonl, config.checkpoint.run], [null, "a-b"]);
});

Deno.test("--set of steps takes the file's tokens away", () => {
  const text = MINIMAL.replace("steps: 100", "tokens: 1e9");
  assertEquals(parse(text, ["training.steps=7"]).config.training.steps, 7);
});

Deno.test("--set of steps and of tokens together is refused", () => {
  assertStringIncludes(
    lineAbout("training.tokens", MINIMAL, ["training.steps=7", "training.tokens=1e6"]),
    "--set: training.tokens: expected one of",
  );
});

const BAD_SETS: [set: string, expected: string][] = [
  ["optimizer.lr=fast", '--set: optimizer.lr: expected a number from 1e-8 to 1000, got "fast"'],
  [
    "optimizer.lrs=1",
    '--set: optimizer.lrs: expected a key of optimizer, got "lrs", did you mean lr?',
  ],
  ["optimiser.lr=1", 'expected a key of the config, got "optimiser", did you mean optimizer?'],
  ["optimizer.lr", '--set: expected section.key=value, got "optimizer.lr"'],
  ["optimizer.lr.x=1", 'optimizer.lr: expected a value, not keys, got "optimizer.lr.x"'],
  ["optimizer.betas=[1", 'optimizer.betas: expected a YAML value, got "[1" ('],
  ["model.__proto__=1", "--set: model.__proto__: expected a key of model: size"],
];
for (const [set, expected] of BAD_SETS) {
  Deno.test(`--set ${set} is refused by name`, () => {
    assertStringIncludes(errorOf(MINIMAL, [set]).message, expected);
  });
}

Deno.test("parseRunConfig() describes an alias bomb in a line", () => {
  const lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"];
  for (let i = 1; i < 20; i++) lines.push(`a${i}: &a${i} [${Array(9).fill(`*a${i - 1}`)}]`);
  const text = `bomb:\n  ${lines.join("\n  ")}\n${MINIMAL.replace("1e-3", "*a19")}`;
  const line = lineAbout("optimizer.lr", text);
  assert(line.length < 200, line);
});

Deno.test("parseRunConfig() describes a list that holds itself", () => {
  const line = lineAbout("optimizer.lr", MINIMAL.replace("1e-3", "&a [*a]"));
  assertStringIncludes(line, "got [[[[...]]]]");
});

Deno.test("ConfigError lists the first faults of very many", () => {
  const { message, issues } = errorOf(
    `${MINIMAL}${Array.from({ length: 999 }, (_, i) => `k${i}: 1`).join("\n")}`,
  );
  assertEquals(issues.length, 999);
  assertEquals(message.split("\n").length, 52);
});

for (
  const [key, value] of [
    ["model.num_layers", 2e9],
    ["model.vocab_size", 2e9],
    ["model.hidden_size", 2e9],
    ["model.max_seq_len", 2e9],
    ["training.steps", 2e12],
    ["training.batch_sequences", 2e9],
    ["stability.outlier_window", 2e9],
    ["stability.snapshots", 2e9],
    ["checkpoint.keep_last", 2e15],
    ["logging.samples.max_tokens", 2e9],
  ] as const
) {
  Deno.test(`parseRunConfig() refuses ${key} ${value}, which promises what no machine has`, () => {
    assertStringIncludes(lineAbout(key, MINIMAL, [`${key}=${value}`]), `, got ${value}`);
  });
}

for (
  const [key, value] of [
    ["model.init_std", "1e-300"],
    ["model.init_std", "1e300"],
    ["model.rms_norm_eps", "1e-300"],
    ["model.rope_theta", "1e300"],
    ["optimizer.lr", "1e-300"],
    ["optimizer.lr", "1e300"],
    ["optimizer.betas.1", "0.9999999999"],
    ["optimizer.eps", "1e-300"],
    ["optimizer.weight_decay", "1e300"],
    ["optimizer.max_grad_norm", "1e-300"],
    ["optimizer.schedule.second_lr", "1e300"],
    ["stability.ema_decay", "0.9999999999"],
    ["stability.outlier_threshold", "1e-300"],
    ["stability.lr_factor", "1e-300"],
    ["logging.machine_every_s", "1e-300"],
    ["logging.machine_every_s", "1e300"],
    ["logging.samples.temperature", "1e300"],
  ] as const
) {
  Deno.test(`parseRunConfig() refuses ${key} ${value}, which is another number in float32 or a timer`, () => {
    const set = key === "optimizer.betas.1" ? `optimizer.betas=[0.9, ${value}]` : `${key}=${value}`;
    assertStringIncludes(lineAbout(key, MINIMAL, [set]), `, got ${Number(value)}`);
  });
}

Deno.test("parseRunConfig() takes 0 for what it turns off", () => {
  const { config } = parse(MINIMAL, [
    "optimizer.max_grad_norm=0",
    "optimizer.weight_decay=0",
    "logging.machine_every_s=0",
    "optimizer.betas=[0, 0]",
  ]);
  assertEquals([config.optimizer.maxGradNorm, config.logging.machineEveryS], [0, 0]);
});

Deno.test("parseRunConfig() refuses more tokens than a checkpoint counts exactly", () => {
  const line = lineAbout("training.steps", MINIMAL, [
    "training.steps=1e12",
    "training.batch_sequences=16777216",
  ]);
  assertStringIncludes(line, "a run of at most 9007199254740991 tokens");
});

Deno.test("parseRunConfig() refuses a path with NUL", () => {
  const line = lineAbout("data.validation", MINIMAL, ['data.validation="a\\0b"']);
  assertStringIncludes(line, "the path of a file, without NUL");
});
