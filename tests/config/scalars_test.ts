import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ConfigError } from "../../lib/config/errors.ts";
import { parseRunConfig } from "../../lib/config/load.ts";

const MINIMAL = `model: {size: 125M}
data: {train: train.tokens}
training: {steps: 100, batch_sequences: 8}
optimizer: {lr: 1e-3}
`;

function parse(text: string, set: string[] = []) {
  return parseRunConfig(text, { file: "run.yaml", set });
}

/** What an error says. */
function errorOf(text: string, set: string[] = []): string {
  return assertThrows(() => parse(text, set), ConfigError).message;
}

for (const name of ["1234", "010", "0x10", "1_000", "1e5", "true", "2026-01-01", "'12'"]) {
  Deno.test(`parseRunConfig() takes checkpoint.run: ${name} as it is written`, () => {
    const written = name.replaceAll("'", "");
    const file = parse(MINIMAL + `checkpoint:\n  run: ${name}\n`).config;
    const set = parse(MINIMAL, [`checkpoint.run=${name}`]).config;
    assertEquals([file.checkpoint.run, set.checkpoint.run], [written, written]);
  });
}

Deno.test("parseRunConfig() takes texts of lists and beside lists as they are written", () => {
  const { data, logging } = parse(MINIMAL, [
    "data.train=[010, a]",
    "data.tokenizer=1e5",
    "logging.samples.prompts=[1_000, no, 1:30]",
  ]).config;
  assertEquals([data.train, data.tokenizer], [["010", "a"], "1e5"]);
  assertEquals(logging.samples.prompts, ["1_000", "no", "1:30"]);
});

Deno.test("parseRunConfig() reads null as null where a name is wanted, and as text in quotes", () => {
  const set = (value: string) => [`checkpoint.run=${value}`];
  assertStringIncludes(
    errorOf(MINIMAL, set("null")),
    "expected a folder's name of letters, digits, dots, dashes and underscores, got null",
  );
  assertEquals(parse(MINIMAL, set("'null'")).config.checkpoint.run, "null");
});

for (const number of ["010", "-010", "0o10", "0x10", "0b1", "1:30", "1_000", "08", "'100'"]) {
  Deno.test(`parseRunConfig() refuses ${number} for a number with key and text`, () => {
    const got = `training.steps: expected a whole number of at least 1, got "${
      number.replaceAll("'", "")
    }"; write a decimal number`;
    const file = MINIMAL.replace("steps: 100", `steps: ${number}`);
    assertStringIncludes(errorOf(file), `run.yaml:3: ${got}`);
    assertStringIncludes(errorOf(MINIMAL, [`training.steps=${number}`]), `--set: ${got}`);
  });
}

for (
  const [set, got] of [
    [
      "optimizer.betas=[0x0, 0.9]",
      'optimizer.betas.0: expected a number from 0 to 0.999999, got "0x0"',
    ],
    ["optimizer.lr_factors={norms: 1_0}", "optimizer.lr_factors.norms: expected a mapping"],
    [
      "optimizer.schedule={warmup_steps: 010}",
      'optimizer.schedule.warmup_steps: expected a whole number of at least 0, got "010"',
    ],
    [
      "training.micro_batch=0b1",
      'training.micro_batch: expected auto or a whole number from 1 to 16777216, got "0b1"; write',
    ],
    ["logging.prometheus=010", "logging.prometheus: expected a port from 0 to 65535"],
  ] as const
) {
  Deno.test(`--set ${set} is no decimal number and refused`, () => {
    assertStringIncludes(errorOf(MINIMAL, [set]), `--set: ${got}`);
  });
}

Deno.test("parseRunConfig() reads decimal numbers in each of their forms", () => {
  const rate = (text: string) => parse(MINIMAL, [`optimizer.lr=${text}`]).config.optimizer.lr;
  assertEquals(
    ["+5", "0.5", ".5", "5.", "1e2", "1.5E-3", "10"].map(rate),
    [5, 0.5, 0.5, 5, 100, 1.5e-3, 10],
  );
});
