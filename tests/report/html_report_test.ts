import { assert, assertAlmostEquals, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { findRun } from "../../lib/history/run_files.ts";
import { readHistory } from "../../lib/history/read_history.ts";
import { htmlReport } from "../../lib/report/html_report.ts";
import { drawHeatMap } from "../../lib/report/heat_map.ts";
import { drawRunChart } from "../../lib/report/run_chart.ts";
import { summarize } from "../../lib/report/run_summary.ts";
import {
  lines,
  machineRecord,
  rollbackRecord,
  runFolder,
  runRecord,
  sampleRecord,
  spikeRecord,
  stepLines,
  stepRecord,
  ternaryRecord,
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
  assertAlmostEquals(summary.lastLoss!, 2 + 8 / 60, 1e-6);
  assertEquals(summary.lateLoss!.records, 1);
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

Deno.test("htmlReport() has the machine, the ternary weights and samples where there are records of them", async () => {
  const texts = Array.from({ length: 30 }, (_, index) => sampleRecord(2 * index + 2));
  await using run = await runFolder(
    RUN + lines(
      ...[10, 20, 30].map((step) => machineRecord(step)),
      machineRecord(40, { gpu_throttle_reasons: ["sw_power_cap"] }),
      ...[20, 40].map((step) => ternaryRecord(step)),
      ...texts,
      sampleRecord(60, { prompt: "<p>", text: "", error: "no numbers" }),
    ),
  );
  const html = htmlReport([await readHistory(findRun(run.folder))], new Date(0));
  const titles = [...html.matchAll(/<svg role="img" aria-label="([^"]*)"/g)].map(([, one]) => one);
  const expected = ["power", "temperature", "clocks", "utilisation", "memory", "ECC errors"];
  for (const title of [...expected.map((one) => `Card's ${one}`), "Host memory", "Disk"]) {
    assert(titles.includes(title), `${title} of ${titles.join(", ")}`);
  }
  assertEquals(titles.includes("Card's clocks were held back"), true);
  assertEquals(titles.includes("Zeros"), true);
  // Nothing was compared: no picture of nothing.
  assertEquals(titles.includes("Flipped since the last count"), false);
  // The first, the last and some between.
  const steps = [...html.matchAll(/<td class="number">(\d+)<\/td><td class="text"><b>Once/g)];
  assertEquals(steps.map(([, step]) => Number(step)), [2, 10, 18, 26, 36, 44, 52, 60]);
  assertStringIncludes(html, "<b>&lt;p&gt;</b> <i>no numbers</i>");
  assert(!/NaN|Infinity|undefined/.test(html.replaceAll("loss NaN", "")));
});

Deno.test("htmlReport() has a chart for each metric of the program's own", async () => {
  const metrics = { "layers.0.norm": 0.5, "layers.1.norm": null };
  await using run = await runFolder(
    lines(runRecord(), ...[1, 2, 3].map((step) => stepRecord(step, { metrics }))),
  );
  const html = htmlReport([await readHistory(findRun(run.folder))], new Date(0));
  const titles = [...html.matchAll(/<svg role="img" aria-label="([^"]*)"/g)].map(([, one]) => one);
  assertEquals(titles.filter((title) => title!.includes("norm")).slice(-1), ["layers.0.norm"]);
});

Deno.test("htmlReport() marks steps that were left out and those that a rollback undid", async () => {
  const left = { ...spikeRecord(50), answer: "skip" };
  await using run = await runFolder(RUN + lines(left));
  const html = htmlReport([await readHistory(findRun(run.folder))], new Date(0));
  const bands = (fill: string) => html.match(new RegExp(`<rect [^>]*fill="${fill}"`, "g"))!.length;
  // In the charts of loss, learning rate and gradient norm.
  assertEquals([bands("#b3261e"), bands("#b07a00")], [3, 3]);
});

Deno.test("drawHeatMap() joins neighbours of one shade, and draws nothing where nothing is known", () => {
  const map = (values: (number | null)[]) =>
    drawHeatMap({
      ...{ field: "zero", title: "Zeros", unit: "", layers: 1, names: ["q", "k"] } as const,
      ...{ steps: [10, 20, 30], values },
    }, "Zeros");
  assertEquals(map([null, null, null, null, null, null]), "");
  // q is 1, 1, 2; k is 2, unknown, 2.
  const cells = [...map([1, 2, 1, null, 2, 2]).matchAll(/<path d="([^"]*)" fill="([^"]*)"/g)]
    .map(([, path, fill]) => [fill, path!.match(/M/g)!.length]);
  assertEquals(cells, [["#fbf3d0", 1], ["#2b1c52", 3]]);
});

Deno.test("drawRunChart() keeps spikes and gaps, and draws nothing of nothing", () => {
  const chart = (y: (number | null)[]) =>
    drawRunChart({ title: "T", unit: "u", lines: [{ name: "n", color: 0, x: [1, 2, 3, 4], y }] });
  assertEquals(chart([null, null, null, null]), "");
  assertEquals(
    /d="(M[^"]*)" fill="none" stroke="#2468b0"/.exec(chart([1, 2, null, 9]))![1]!.match(
      /[ML]/g,
    ),
    ["M", "L", "M"],
  );
});

Deno.test("htmlReport() of several runs has a colour a run, dashes for its lines, last losses and what sets runs apart", async () => {
  await using run = await runFolder(
    lines(runRecord()) + stepLines(1, 199) + lines(stepRecord(200, { loss: 9 })),
  );
  const read = await readHistory(findRun(run.folder));
  const runs = ["1e-3", "5e-4", "1e-4"].map((lr) => ({
    ...{ ...read, name: `run ${lr}`, config: `optimizer:\n  lr: ${lr}\n` },
  }));
  const html = htmlReport(runs, new Date(0));
  const row = (title: string) => {
    const cells = new RegExp(`<th scope="row">${title}</th>(.*)</tr>`).exec(html)![1]!;
    return [...cells.matchAll(/<td>(.*?)<\/td>/g)].map(([, cell]) => cell);
  };
  assertEquals(row("Loss, last record"), ["9.0000", "9.0000", "9.0000"]);
  // 2.04 and the like three times, and 9.
  assertEquals(row("Loss, mean of the last records")[0], "3.7803 over 4");
  assertEquals(row("optimizer.lr"), ["0.001", "0.0005", "0.0001"]);
  const chart = (title: string) =>
    html.slice(html.indexOf(`aria-label="${title}"`)).split("</svg>")[0]!;
  assertStringIncludes(chart("Loss"), "run 1e-3 smoothed over 5 records");
  const phases = chart("Time by phase");
  const entries = [...phases.matchAll(/<text x="\d+" y="\d+">(.*?)<\/text>/g)]
    .map(([, name]) => name);
  assertEquals(entries, [
    ...["run 1e-3", "run 5e-4", "run 1e-4", "forward", "backward", "optimizer", "data"],
  ]);
  const strokes = [...phases.matchAll(/fill="none" stroke="(#\w+)" stroke-linejoin/g)];
  assertEquals(new Set(strokes.map(([, color]) => color)).size, 3);
  assertEquals(strokes.length, 12);
});

Deno.test("htmlReport() counts and shows records of a newer version, and reports on the others", async () => {
  const newer = '{"type":"stability","step":60,"event":"teleport"}\n{"type":"dream","step":60}\n';
  await using run = await runFolder(RUN + newer + lines(validationRecord(60, NaN)));
  const html = htmlReport([await readHistory(findRun(run.folder))], new Date(0));
  assertStringIncludes(html, "2 lines are no records that this version knows and left out;");
  assertStringIncludes(html, "teleport");
  assertStringIncludes(html, "loss 3.0000");
});
