import { assertEquals } from "@std/assert";
import { EvaluationReport } from "../../lib/cli/evaluation_report.ts";
import { recordedOutput } from "./support.ts";

Deno.test("EvaluationReport tells the time left from when the scoring began, not from its first batch", () => {
  const { written, output } = recordedOutput();
  const clock = { ms: 5000 };
  const report = new EvaluationReport({
    now: () => clock.ms,
    output,
    plainIntervalMs: 0,
  });
  const tokenizing = { textBytes: 1, documents: 1, problems: 0, totalBytes: 100 };
  clock.ms += 1000;
  report.tokenized({ ...tokenizing, readBytes: 50, tokens: 10 });
  clock.ms += 1000;
  report.tokenized({ ...tokenizing, readBytes: 100, tokens: 20 });
  clock.ms += 400;
  report.scored({ tokens: 10, totalTokens: 100, loss: 1 });
  report.finish();
  assertEquals(written, [
    "tokenize 10 tokens eta 1.0 s\n",
    "tokenize 20 tokens\n",
    "evaluate 10/100 tokens, loss 1.0000 eta 3.6 s\n",
  ]);
});
