/**
 * A report of runs as one HTML file that needs nothing else.
 *
 * @module
 */

import {
  formatBytes,
  formatCount,
  formatDuration,
  formatPercent,
  formatRate,
} from "../cli/format.ts";
import { describeStability } from "../cli/stability_text.ts";
import { differingSettings } from "../history/differing_settings.ts";
import { describeLeftOut, type NotedRecord } from "../history/run_history.ts";
import { TERNARY_STATISTICS } from "../history/ternary_history.ts";
import { drawHeatMap } from "./heat_map.ts";
import { machineCharts } from "./machine_charts.ts";
import { chartsOf, type ReportedRun } from "./run_charts.ts";
import { type RunSummary, summarize } from "./run_summary.ts";
import { escape } from "./svg_parts.ts";

/** Statistics that are drawn; shares of -1 and 1 follow from that of 0. */
const DRAWN = new Set(["zero", "flipped", "beta", "near", "gamma_mean", "gamma_max", "input_zero"]);
/** Columns of a picture of the ternary weights. */
const COLUMNS = 160;
/** Texts of a prompt that are listed: the first, the last and some between. */
const MOST_SAMPLES = 8;

/** What is drawn over the lines. */
const MARKS =
  `<p class="soft">Red bands: undone by a rollback. Amber bands: steps left out. Triangles: spikes. ` +
  `Dashed: the clipping norm.</p>`;

/** Events of a run that are listed; of more the first and the last. */
const MOST_EVENTS = 400;

const STYLE = `
:root { color-scheme: light dark; --ink: #1f2429; --soft: #5c6670; --ground: #f4f5f7; --line: #d9dde2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ea; --soft: #a0a9b2; --ground: #14171a; --line: #343a41; }
}
body { margin: 0 auto; max-width: 900px; padding: 20px; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { margin: 0; font-size: 22px; }
h2 { margin: 28px 0 8px; font-size: 17px; }
.soft { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 18px 4px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
td.text { white-space: pre-wrap; overflow-wrap: anywhere; }
td.number { text-align: right; color: var(--soft); }
svg { display: block; width: 100%; height: auto; margin: 0 0 14px; }
pre { overflow-x: auto; padding: 12px; border: 1px solid var(--line); border-radius: 8px; font-size: 12.5px; }
`;

/** The report. `time` is when it was made. */
export function htmlReport(runs: readonly ReportedRun[], time: Date): string {
  const title = runs.map(({ name }) => name).join(", ");
  const made = `made ${time.toISOString().replace(/\..*/, "Z")}`;
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escape(title)} – TitanBit</title>
<style>${STYLE}</style>
</head>
<body>
<h1>${escape(title)}</h1>
<p class="soft">TitanBit, ${made}</p>
<h2>Summary</h2>
${summaryTable(runs)}
<h2>Charts</h2>
${chartsOf(runs).join("\n")}
${MARKS}
${section("Machine", machineCharts(runs))}
${
    section(
      "Ternary weights, layers by steps",
      runs.flatMap((run) => heatMapsOf(run, runs.length > 1)),
    )
  }
${runs.map(samplesOf).filter((part) => part !== "").join("\n")}
${runs.map(eventsOf).join("\n")}
${runs.map(configOf).join("\n")}
</body>
</html>
`;
}

function section(title: string, charts: readonly string[]): string {
  return charts.length === 0 ? "" : `<h2>${title}</h2>\n${charts.join("\n")}`;
}

function heatMapsOf({ name, history }: ReportedRun, named: boolean): string[] {
  return TERNARY_STATISTICS.filter(({ field }) => DRAWN.has(field)).map((statistic) => {
    const map = history.ternary.heatMap(statistic, { columns: COLUMNS });
    return drawHeatMap(map, named ? `${name}: ${map.title}` : map.title);
  }).filter((svg) => svg !== "");
}

function samplesOf({ name, history }: ReportedRun): string {
  const byPrompt = Map.groupBy(history.samples, ({ prompt }) => prompt);
  if (byPrompt.size === 0) return "";
  const rows = Array.from(byPrompt.values(), (samples) => {
    const count = Math.min(samples.length, MOST_SAMPLES);
    const chosen = Array.from(
      { length: count },
      (_, index) =>
        samples[
          count === 1 ? samples.length - 1 : Math.round(
            index * (samples.length - 1) / (count - 1),
          )
        ]!,
    );
    return chosen.map(({ step, prompt, text, error }) =>
      `<tr><td class="number">${step}</td><td class="text"><b>${escape(prompt)}</b>${
        error === null ? escape(text) : ` <i>${escape(error)}</i>`
      }</td></tr>`
    );
  }).flat();
  return `<h2>Samples of ${escape(name)}</h2>\n<table>\n<thead><tr><th scope="col">Step</th>` +
    `<th scope="col">Prompt and text</th></tr></thead>\n<tbody>\n${
      rows.join("\n")
    }\n</tbody>\n</table>`;
}

function summaryTable(runs: readonly ReportedRun[]): string {
  const summaries = runs.map(({ history }) => summarize(history));
  const row = (name: string, cell: (summary: RunSummary) => string) =>
    `<tr><th scope="row">${name}</th>${
      summaries.map((summary) => `<td>${escape(cell(summary))}</td>`).join("")
    }</tr>`;
  const heads = runs.map(({ name }) => `<th scope="col">${escape(name)}</th>`).join("");
  return `<div class="scroll"><table>
<thead><tr><td></td>${heads}</tr></thead>
<tbody>
${
    [
      row("Device", ({ device }) => device ?? "–"),
      row("Parameters", ({ parameters }) => parameters === null ? "–" : formatCount(parameters)),
      row(
        "Steps",
        ({ steps, stepsAsked }) =>
          stepsAsked === null ? String(steps) : `${steps} of ${stepsAsked}`,
      ),
      row("End", ({ end }) => end ?? "none recorded"),
      row("Tokens", ({ tokens }) => tokens === null ? "–" : formatCount(tokens)),
      row("Loss, last record", ({ lastLoss }) => lastLoss === null ? "–" : lastLoss.toFixed(4)),
      row(
        "Loss, mean of the last records",
        ({ lateLoss: late }) =>
          late === null ? "–" : `${late.mean.toFixed(4)} over ${late.records}`,
      ),
      row("Best validation", ({ bestValidation: best }) =>
        best === null
          ? "–"
          : `loss ${best.loss.toFixed(4)}${
            best.bitsPerByte === null ? "" : `, ${best.bitsPerByte.toFixed(4)} bits per byte`
          } at step ${best.step}`),
      row("Time of the steps", ({ trainingMs }) =>
        trainingMs === 0 ? "–" : formatDuration(trainingMs)),
      row("Throughput", ({ tokensPerS }) =>
        tokensPerS === null ? "–" : formatRate(tokensPerS)),
      row("MFU, bf16 peak", ({ mfuBf16 }) =>
        mfuBf16 === null ? "–" : formatPercent(mfuBf16)),
      row("MFU, int8 and bf16 peaks", ({ mfuMixed }) =>
        mfuMixed === null ? "–" : formatPercent(mfuMixed)),
      row("Spikes", ({ spikes }) =>
        String(spikes)),
      row("Skipped steps", ({ skipped }) =>
        String(skipped)),
      row("Rollbacks", ({ rollbacks, undoneSteps }) =>
        undoneSteps === 0 ? String(rollbacks) : `${rollbacks}, ${undoneSteps} steps undone`),
      ...differingSettings(runs.map(({ config }) =>
        config
      )).map(({ key, values }) =>
        `<tr><th scope="row">${escape(key)}</th>${
          values.map((value) => `<td>${escape(value ?? "–")}</td>`).join("")
        }</tr>`
      ),
    ].join("\n")
  }
</tbody>
</table></div>`;
}

function eventsOf({ name, history: { notes, leftOut } }: ReportedRun): string {
  const left = leftOut === null ? "" : `\n<p class="soft">${escape(describeLeftOut(leftOut))}</p>`;
  const heading = `<h2>Events of ${escape(name)}</h2>${left}`;
  if (notes.length === 0) return `${heading}\n<p class="soft">none</p>`;
  const rows = notes.map((note) =>
    `<tr><td class="number">${note.step}</td><td>${escape(describe(note))}</td></tr>`
  );
  if (rows.length > MOST_EVENTS) {
    const more = rows.length - MOST_EVENTS;
    rows.splice(MOST_EVENTS / 2, more, `<tr><td></td><td>… ${more} more …</td></tr>`);
  }
  return `${heading}\n<table>\n<thead><tr><th scope="col">Step</th><th scope="col">Event</th></tr></thead>\n` +
    `<tbody>\n${rows.join("\n")}\n</tbody>\n</table>`;
}

function describe(note: NotedRecord): string {
  switch (note.type) {
    case "run":
      return `started on ${note.device}, version ${note.version}, at ${note.time}`;
    case "checkpoint":
      return note.error === null
        ? `checkpoint ${note.path}, ${formatBytes(note.size_bytes)} in ${
          formatDuration(note.write_ms)
        }`
        : `checkpoint ${note.path} was not written: ${note.error}`;
    case "event":
      return note.message === "" ? note.event : `${note.event}: ${note.message}`;
    case "stability":
      return describeStability(note);
  }
}

function configOf({ name, config }: ReportedRun): string {
  const text = config === null
    ? `<p class="soft">no checkpoint holds it</p>`
    : `<pre>${escape(config)}</pre>`;
  return `<h2>Config of ${escape(name)}</h2>\n${text}`;
}
