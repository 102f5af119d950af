/**
 * The page: loads the runs, follows them, and shows them.
 *
 * @module
 */

import { Chart } from "./charts.js";
import { HeatMaps } from "./heat_maps.js";
import { drawConfigs, drawEvents, drawSamples } from "./lists.js";
import { formatNumber, formatTime } from "./numbers.js";
import { panelsOf } from "./panels.js";
import { Run } from "./run.js";
import { RunsTable } from "./runs_table.js";

const byId = (id) => document.getElementById(id);
/** How often charts are drawn at most. */
const DRAW_MS = 200;
/** How often the table looks whether a run has fallen silent. */
const LOOK_MS = 10_000;

/** What runs may be drawn over: the column of a step's place, and how places are told. */
const AXES = [
  { name: "step", column: "step", format: formatNumber },
  { name: "tokens", column: "tokens", format: formatNumber },
  {
    name: "time",
    column: "elapsed_ms",
    format: formatTime,
    gaps: [
      ...[1, 2, 5, 10, 20, 50, 100, 200, 500],
      ...[1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800].map((seconds) => 1000 * seconds),
      ...[1, 2, 3, 6, 12, 24, 48, 120, 240, 480].map((hours) => 3_600_000 * hours),
    ],
  },
];

const runs = [];
const charts = new Map();
let position = "";
let range = null;
let drawTimer = null;
let partTimer = null;

const context = {
  get runs() {
    return runs.filter(({ shown }) => shown);
  },
  get isLog() {
    return byId("log").checked;
  },
  /** What is drawn over. */
  get x() {
    return AXES.find(({ name }) => name === byId("x").value);
  },
  /** The part that is looked at, in places of `x`; null for the whole. */
  get range() {
    return range;
  },
  /** First and last place of the runs shown. */
  get extent() {
    return extentOf(this.runs, this.x.column);
  },
  /** First and last step of the runs shown. */
  get allSteps() {
    return extentOf(this.runs, "step");
  },
  /** Steps of a run that are looked at; null for all. */
  steps(run) {
    return range === null ? null : range.map((place) => run.toStep(place, this.x));
  },
  async zoom(to) {
    range = to;
    byId("reset").hidden = range === null;
    await loadParts();
    draw();
  },
};

function extentOf(shown, column) {
  const places = shown.filter((run) => run.has(column)).map(({ columns }) => columns[column]);
  if (places.length === 0) return [0, 1];
  return [Math.min(...places.map((of) => of[0])), Math.max(...places.map((of) => of.at(-1)))];
}

const table = new RunsTable(byId("runs"), draw);
const heatMaps = new HeatMaps({
  section: byId("ternary"),
  statistic: byId("statistic"),
  projection: byId("projection"),
  box: byId("heat-maps"),
}, context);

/** Records that the moving average takes: 1, 2, 5, 10, … */
function smoothing() {
  return [1, 5, 10, 20, 50, 100, 200, 500, 1000, 5000][Number(byId("smooth").value)];
}

function showStatus(state, text) {
  byId("status").dataset.state = state;
  byId("status").textContent = text;
}

// ---- Drawing ---------------------------------------------------------------------------------------------------------

function drawSoon() {
  drawTimer ??= setTimeout(draw, DRAW_MS);
}

function draw() {
  if (drawTimer !== null) clearTimeout(drawTimer);
  drawTimer = null;
  const panels = panelsOf(runs, smoothing());
  for (const panel of panels) {
    const shape = JSON.stringify(panel);
    let chart = charts.get(panel.id);
    if (chart?.shape !== shape) {
      const fresh = new Chart(panel, context);
      fresh.shape = shape;
      if (chart === undefined) place(fresh, panels);
      else chart.figure.replaceWith(fresh.figure);
      charts.set(panel.id, fresh);
      chart = fresh;
    }
    chart.update();
  }
  table.draw(runs);
  drawEvents(context.runs);
  drawSamples(context.runs);
  drawConfigs(runs);
  drawHeatMaps();
}

function drawHeatMaps() {
  heatMaps.update().catch((error) =>
    showStatus("waiting", `cannot read the ternary weights: ${error.message}`)
  );
}

/** Puts a chart before the next that is there. */
function place(chart, panels) {
  const index = panels.findIndex(({ id }) => id === chart.panel.id);
  const next = panels.slice(index + 1).find(({ id }) => charts.has(id));
  byId("charts").insertBefore(
    chart.figure,
    next === undefined ? null : charts.get(next.id).figure,
  );
}

// ---- Data ------------------------------------------------------------------------------------------------------------

async function loadAll() {
  const response = await fetch("/api/runs");
  if (!response.ok) throw new Error(await response.text());
  const found = await response.json();
  position = found.position;
  heatMaps.offer(found.statistics);
  found.runs.forEach((summary, index) => {
    if (runs[index] === undefined) runs.push(new Run(summary, index));
    else runs[index].read(summary);
  });
  await Promise.all(runs.map((run) => run.load(smoothing())));
  await loadParts();
}

async function loadParts() {
  await Promise.all(runs.map((run) => run.loadPart(smoothing(), context.steps(run))));
}

function follow() {
  const events = new EventSource(`/api/events?since=${encodeURIComponent(position)}`);
  events.onopen = () => showStatus("live", "live");
  events.onerror = () => {
    showStatus("waiting", "no connection, trying again");
    // The browser tries again by itself, unless the answer was an error.
    if (events.readyState === EventSource.CLOSED) setTimeout(follow, 2000);
  };
  events.addEventListener("update", (event) => take(JSON.parse(event.data)));
}

let reading = Promise.resolve();

/** One update after the other, as one may have to read everything anew. */
function take(update) {
  reading = reading.then(async () => {
    position = update.position;
    let anew = false;
    for (const [id, found] of Object.entries(update.runs)) {
      const run = runs.find((candidate) => candidate.id === id);
      if (found.reset || run === undefined || run.append(found)) anew = true;
    }
    if (anew) await loadAll();
    else if (range !== null) loadPartSoon();
    drawSoon();
  }).catch((error) => showStatus("waiting", `cannot read the runs: ${error.message}`));
}

function loadPartSoon() {
  partTimer ??= setTimeout(async () => {
    partTimer = null;
    await loadParts();
    drawSoon();
  }, 2000);
}

function showWindow() {
  const window = smoothing();
  byId("window").textContent = window === 1 ? "off" : `${window} records`;
}

byId("smooth").addEventListener("input", showWindow);
byId("smooth").addEventListener("change", async () => {
  await loadAll();
  draw();
});
byId("x").append(...AXES.map(({ name }) => new Option(name, name)));
byId("x").addEventListener("change", () => context.zoom(null));
byId("log").addEventListener("change", draw);
byId("checkpoints").addEventListener("change", () => drawEvents(context.runs));
byId("reset").addEventListener("click", () => context.zoom(null));
byId("controls").addEventListener("submit", (event) => event.preventDefault());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const chart of charts.values()) chart.redraw();
  heatMaps.redraw();
});

showWindow();
try {
  await loadAll();
  draw();
  // For whoever measures how long it took.
  requestAnimationFrame(() => performance.mark("drawn"));
  follow();
  setInterval(() => table.draw(runs), LOOK_MS);
} catch (error) {
  showStatus("waiting", `cannot load the runs: ${error.message}`);
}
