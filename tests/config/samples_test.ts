import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ConfigError } from "../../lib/config/errors.ts";
import { parseRunConfig } from "../../lib/config/load.ts";
import { runConfigToYaml } from "../../lib/config/print.ts";

function parse(...set: string[]) {
  const text = `
model: { size: 125M }
data: { train: train.tokens, tokenizer: tokenizer.json }
training: { steps: 4000, batch_sequences: 8, seq_len: 100 }
optimizer: { lr: 1e-3 }
`;
  return parseRunConfig(text, { file: "run.yaml", set });
}

const PROMPTS = 'logging.samples.prompts=["Once upon", "The: # king"]';

Deno.test("parseRunConfig() writes samples where there are prompts, every twentieth of the steps", () => {
  assertEquals(parse().config.logging.samples.everySteps, 0);
  const { config, defaults } = parse(PROMPTS);
  assertEquals(config.logging.samples, {
    everySteps: 200,
    prompts: ["Once upon", "The: # king"],
    maxTokens: 50,
    temperature: 0,
    seed: 0,
  });
  const { reason } = defaults.find(({ key }) => key === "logging.samples.every_steps")!;
  assertEquals(reason, "a twentieth of the steps");
});

Deno.test("a printed run keeps its samples", () => {
  const { config } = parse(PROMPTS, "logging.samples.temperature=0.7");
  const again = parseRunConfig(runConfigToYaml(config), { file: "again.yaml" });
  assertEquals(again.config.logging, config.logging);
});

for (
  const [what, set, expected] of [
    ["no tokenizer", [PROMPTS, "data.tokenizer=null"], "the tokenizer.json of the token files"],
    ["no prompts", ["logging.samples.every_steps=5"], "a prompt or more where"],
    [
      "a text that leaves no room for a prompt",
      [PROMPTS, "logging.samples.max_tokens=100"],
      [
        "less than training.seq_len (100)",
      ].join(),
    ],
    [
      "an empty prompt",
      ['logging.samples.prompts=["a", ""]'],
      "a list of texts, none of them empty",
    ],
    ["a prompt that is no list", ["logging.samples.prompts=Once"], "a list of texts"],
    ["an unknown key", ["logging.samples.every=5"], "logging.samples.every"],
  ] as const
) {
  Deno.test(`parseRunConfig() refuses samples with ${what}`, () => {
    const { message } = assertThrows(() => parse(...set), ConfigError);
    assertStringIncludes(message, expected);
  });
}

Deno.test("parseRunConfig() takes prompts without a tokenizer where they are turned off", () => {
  const { config } = parse(PROMPTS, "data.tokenizer=null", "logging.samples.every_steps=0");
  assertEquals(config.logging.samples.everySteps, 0);
});
