import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ConfigError } from "../../lib/config/errors.ts";
import { parseRunConfig } from "../../lib/config/load.ts";
import { runConfigToYaml } from "../../lib/config/print.ts";

function parse(...set: string[]) {
  const text = `
model: { size: 125M }
data: { train: train.tokens }
training: { steps: 4000, batch_sequences: 8 }
optimizer: { lr: 1e-3 }
`;
  return parseRunConfig(text, { file: "run.yaml", set });
}

function choiceOf(...set: string[]) {
  return parse(...set).defaults.find(({ key }) => key === "logging.ternary_every")!;
}

Deno.test("parseRunConfig() counts ternary weights every 100 steps, and more rarely in a long run", () => {
  assertEquals(choiceOf(), {
    key: "logging.ternary_every",
    value: 100,
    reason: "a thousandth of the steps, at least 100",
  });
  assertEquals(choiceOf("training.steps=500000").value, 500);
  const { logging } = parse("logging.ternary_every=7", "logging.flip_rate=true").config;
  assertEquals([logging.ternaryEvery, logging.flipRate], [7, true]);
});

Deno.test("parseRunConfig() counts no ternary weights where there are none, and refuses to be asked for them", () => {
  assertEquals(choiceOf("model.quantization=none").value, 0);
  const { message } = assertThrows(
    () => parse("model.quantization=none", "logging.ternary_every=5"),
    ConfigError,
  );
  assertStringIncludes(message, "logging.ternary_every");
  assertStringIncludes(message, "0 where model.quantization is none");
});

Deno.test("parseRunConfig() refuses a negative interval and a flip rate that is neither true nor false", () => {
  assertThrows(
    () => parse("logging.ternary_every=-1"),
    ConfigError,
    "a whole number of at least 0",
  );
  assertThrows(() => parse("logging.flip_rate=yes please"), ConfigError, "true or false");
});

Deno.test("a printed run keeps what it counts", () => {
  const { config } = parse("logging.ternary_every=7", "logging.flip_rate=true");
  const again = parseRunConfig(runConfigToYaml(config), { file: "again.yaml" });
  assertEquals(again.config.logging, config.logging);
});
