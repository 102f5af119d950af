import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ConfigError } from "../../lib/config/errors.ts";
import { parseRunConfig } from "../../lib/config/load.ts";
import { runConfigToYaml } from "../../lib/config/print.ts";

function parse(...set: string[]) {
  const text = `
model: { size: 125M }
data: { train: train.tokens }
training: { steps: 40, batch_sequences: 8 }
optimizer: { lr: 1e-3 }
`;
  return parseRunConfig(text, { file: "run.yaml", set });
}

Deno.test("parseRunConfig() fills the open keys of logging, with reasons", () => {
  const { config, defaults } = parse();
  assertEquals(config.logging, {
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
  });
  for (const key of ["prometheus", "tensorboard", "machine_every_s"]) {
    assertEquals(defaults.find((one) => one.key === `logging.${key}`)?.reason, "default");
  }
});

for (
  const [given, address] of [
    ["9464", "127.0.0.1:9464"],
    ["'0'", "127.0.0.1:0"],
    ["0.0.0.0:80", "0.0.0.0:80"],
    ["gpu-7.local:9464", "gpu-7.local:9464"],
    ["'[::1]:9464'", "[::1]:9464"],
    ["null", null],
  ] as const
) {
  Deno.test(`parseRunConfig() takes logging.prometheus=${given} for ${address}`, () => {
    const { config } = parse(`logging.prometheus=${given}`);
    assertEquals(config.logging.prometheus, address);
    // As it is stored with a checkpoint and read again.
    const again = parseRunConfig(runConfigToYaml(config), { file: "run.yaml" }).config;
    assertEquals(again.logging, config.logging);
  });
}

for (
  const [set, expected] of [
    ["prometheus=65536", "expected a port from 0 to 65535, or HOST:PORT such as 127.0.0.1:9464"],
    ["prometheus=localhost", "expected a port from 0 to 65535, or HOST:PORT"],
    ["prometheus=localhost:99999", "expected a port from 0 to 65535, or HOST:PORT"],
    ["prometheus=http://localhost:9464", "expected a port from 0 to 65535, or HOST:PORT"],
    ["tensorboard=[3]", "expected the path of a folder, got [3]"],
    ["machine_every_s=-1", "expected 0 or a number from 0.01 to 1000000, got -1"],
    ["promethius=9464", 'expected a key of logging, got "promethius", did you mean prometheus'],
  ] as const
) {
  Deno.test(`parseRunConfig() refuses logging.${set}`, () => {
    const error = assertThrows(() => parse(`logging.${set}`), ConfigError);
    assertStringIncludes(error.message, expected);
  });
}
