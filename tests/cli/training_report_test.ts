import { assertEquals, assertStringIncludes } from "@std/assert";
import { TrainingReport } from "../../lib/cli/training_report.ts";
import type { SampleRecord, StepRecord, TernaryRecord } from "../../lib/metrics/records.ts";
import { runRecord, validationRecord } from "../history/support.ts";
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

Deno.test("TrainingReport's last line tells the last validation and the last counts", () => {
  for (const style of ["plain", "bar"] as const) {
    const { written, output } = recordedOutput();
    const wide = { ...output, columns: () => 400 };
    const report = new TrainingReport({ steps: 2, style, output: wide });
    report.record(STEP);
    report.record(validationRecord(1, 9));
    report.record({ ...STEP, step: 2 });
    report.record({ ...TERNARY, step: 2 });
    report.record(validationRecord(2, 6));
    report.record({ type: "event", step: 2, event: "finished", message: "all steps done" });
    const last = written.join("").split(/[\r\n]/).findLast((line) => line.includes("step 2/2"))!;
    assertStringIncludes(last, "  val 2.000 bpb");
    assertStringIncludes(last, "  zeros 31.2%");
    // A line of numbers that are all told already isn't told again.
    const plain = written.filter((line) => line.startsWith("train step 1/2"));
    assertEquals(plain.length, style === "plain" ? 1 : 0);
  }
});

Deno.test("TrainingReport ends what it shows at a run's beginning with addresses, the dashboard's last", () => {
  const { written, output } = recordedOutput();
  const address = "dashboard  http://127.0.0.1:8420/";
  const heading = "a: 1\nb: 2";
  const report = new TrainingReport({ steps: 9, style: "plain", output, heading, address });
  report.note("metrics are at http://127.0.0.1:9000/metrics");
  report.record(runRecord({ snapshot_bytes: 1 }));
  report.note("later");
  const shown = written.join("").trimEnd().split("\n");
  assertEquals([shown[0], ...shown.slice(-3)], [
    ...["a: 1", "metrics are at http://127.0.0.1:9000/metrics", address, "later"],
  ]);
});
