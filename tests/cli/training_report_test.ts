import { assertEquals, assertStringIncludes } from "@std/assert";
import { TrainingReport } from "../../lib/cli/training_report.ts";
import type { SampleRecord, StepRecord, TernaryRecord } from "../../lib/metrics/records.ts";
import { stepRecord } from "../support/records.ts";
import { recordedOutput } from "./support.ts";

const STEP = stepRecord(1);

const TERNARY: TernaryRecord = {
  type: "ternary",
  step: 1,
  layers: 0,
  matrices: [],
  inputs: [],
  zero_share: 0.312,
  flip_rate: null,
  flip_steps: null,
  minus: [],
  zero: [],
  plus: [],
  flipped: null,
  beta: [],
  near: [],
  gamma_mean: [],
  gamma_max: [],
  input_zero: [],
  input_clipped: [],
  collect_ms: 1,
};

Deno.test("TrainingReport shows the newest share of zeros and flip rate among a step's numbers, no line of its own", () => {
  const { written, output } = recordedOutput();
  const report = new TrainingReport({ steps: 9, style: "plain", output });
  const linesOf = (...records: (StepRecord | TernaryRecord)[]) => {
    for (const record of records) report.record(record);
    return written.splice(0).join("").split("\n").slice(0, -1);
  };
  assertEquals(linesOf(STEP)[0]!.includes("zeros"), false);
  assertEquals(linesOf(TERNARY), []);
  const [second] = linesOf({ ...STEP, step: 2 });
  assertStringIncludes(second!, "  zeros 31.2%");
  assertEquals(second!.includes("flips"), false);
  const [third, ...others] = linesOf({ ...TERNARY, flip_rate: 0.004 }, { ...STEP, step: 3 });
  assertStringIncludes(third!, "  zeros 31.2%  flips 0.4%");
  assertEquals(others, []);
});

Deno.test("TrainingReport shows each text of the model as a line, and why there is none", () => {
  const { written, output } = recordedOutput();
  const report = new TrainingReport({ steps: 9, style: "plain", output });
  const sample: SampleRecord = {
    ...{ type: "sample", step: 4, tokens: 400, prompt: "Once", text: " upon\na" },
    ...{ prompt_tokens: 1, sample_tokens: 3, stop: "max_tokens", sample_ms: 12, error: null },
  };
  report.record(sample);
  assertStringIncludes(written.join(""), 'sample at step 4: "Once" → " upon\\na" (3 tokens in 12');
  report.record({ ...sample, text: "", stop: null, error: "logits are no numbers" });
  assertStringIncludes(written.join(""), "sample at step 4: none, logits are no numbers");
});
