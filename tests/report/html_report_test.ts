import { assert, assertAlmostEquals, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { findRun } from "../../lib/history/run_files.ts";
import { readHistory } from "../../lib/history/read_history.ts";
import { htmlReport } from "../../lib/report/html_report.ts";
import { drawRunChart } from "../../lib/report/run_chart.ts";
import { summarize } from "../../lib/report/run_summary.ts";
import {
  lines,
  rollbackRecord,
  runFolder,
  runRecord,
  spikeRecord,
  stepLines,
  stepRecord,
  validationRecord,
} from "../history/support.ts";

const RUN = lines(runRecord({ run: "<b>&", steps: 60 })) + stepLines(1, 40) +
  lines({ ...spikeRecord(41), loss: null }, rollbackRecord(41, 30)) + stepLines(31, 60) +
  lines(validationRecord(50, 3), validationRecord(60, 2.5)) +
  lines({ type: "event", step: 60, event: "finished", message: "all steps done" });

Deno.test("summarize() gives the figures of a run", async () => {
  await using run = await runFolder(RUN);
  const { history } = await readHistory(findRun(run.folder));
  const summary = summarize(history);
  assertEquals(
    [summary.steps, summary.stepsAsked, summary.tokens, summary.rollbacks, summary.undoneSteps],
    [60, 60, 6000, 1, 11],
  );
  assertEquals(summary.bestValidation, { step: 60, loss: 2.5, bitsPerByte: 2.5 / 3 });
  assertEquals([summary.trainingMs, summary.tokensPerS, summary.end], [300, 20000, "finished"]);
  assertAlmostEquals(summary.finalLoss!, 2 + 8 / 60, 1e-6);
  assertAlmostEquals(summary.mfuBf16!, 0.4, 1e-6);
  assertEquals(summary.mfuMixed, null);
});

Deno.test("summarize() counts the steps between records", async () => {
  const records = [10, 20, 30].map((step) => stepRecord(step, { step_ms: step === 10 ? 0 : 4 }));
  await using run = await runFolder(lines(...records));
  assertEquals(summarize((await readHistory(findRun(run.file))).history).trainingMs, 120);
});

Deno.test("htmlReport() is one file that needs no other, with charts, summary, config and events", async () => {
  await using run = await runFolder(RUN);
  const checkpoint = join(run.folder, "step_0000060");
  Deno.mkdirSync(checkpoint);
  Deno.writeTextFileSync(join(checkpoint, "config.yaml"), "optimizer:\n  max_grad_norm: 1.5\n");
  const read = await readHistory(findRun(run.folder));
  const html = htmlReport([read, { ...read, name: "second" }], new Date(0));
  assert(!/<script|<link|<img|src=|@import|url\((?!#)/.test(html), "the report refers to others");
  assertEquals(html.match(/<svg /g)!.length, 8);
  assert(!/NaN|Infinity|undefined/.test(html.replace("loss NaN", "").replace("loss NaN", "")));
  for (
    const text of [
      "&lt;b&gt;&amp;",
      "max_grad_norm: 1.5",
      "back from step 41 to 30",
      "1, 11 steps undone",
      "1970-01-01T00:00:00Z",
    ]
  ) assertStringIncludes(html, text);
  assert(!html.includes("<b>&"));
});

Deno.test("drawRunChart() keeps spikes and gaps, and draws nothing of nothing", () => {
  const chart = (y: (number | null)[]) =>
    drawRunChart({ title: "T", unit: "u", lines: [{ name: "n", color: 0, x: [1, 2, 3, 4], y }] });
  assertEquals(chart([null, null, null, null]), "");
  assertEquals(
    /d="(M[^"]*)" fill="none" stroke="#2563a8"/.exec(chart([1, 2, null, 9]))![1]!.match(
      /[ML]/g,
    ),
    ["M", "L", "M"],
  );
});
