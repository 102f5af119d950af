/**
 * The page: loads the runs, follows them, and shows them.
 *
 * @module
 */

import { Chart } from "./charts.js";
import { formatNumber, panelsOf } from "./panels.js";
import { Run } from "./run.js";

const byId = (id) => document.getElementById(id);
/** How often charts are drawn at most. */
const DRAW_MS = 200;
const MOST_EVENTS = 300;

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
  get range() {
    return range;
  },
  /** First and last step of the runs shown. */
  get extent() {
    const steps = this.runs.map(({ columns }) => columns.step).filter(({ length }) => length > 0);
    if (steps.length === 0) return [0, 1];
    return [Math.min(...steps.map((of) => of[0])), Math.max(...steps.map((of) => of.at(-1)))];
  },
  async zoom(to) {
    range = to;
    byId("reset").hidden = range === null;
    for (const run of runs) await run.loadPart(smoothing(), range);
    draw();
  },
};

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
  const panels = panelsOf(runs);
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
  drawRuns();
  drawEvents();
  drawConfigs();
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

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function drawRuns() {
  const body = document.querySelector("#runs tbody");
  while (body.rows.length < runs.length) body.append(runRow(runs[body.rows.length]));
  runs.forEach((run, index) => {
    const steps = run.start?.steps ?? null;
    const step = run.last("step");
    const perS = run.last("tokens_per_s");
    const mfu = run.last("mfu_bf16");
    const left = steps === null || !perS
      ? null
      : (steps - (step ?? 0)) * run.start.tokens_per_step / perS;
    const fields = {
      step: steps === null ? String(step ?? "–") : `${step ?? 0} / ${steps}`,
      loss: formatNumber(run.last("loss_smooth") ?? run.last("loss")),
      validation: formatNumber(run.best("loss")),
      bits: formatNumber(run.best("bits_per_byte")),
      tokens: formatNumber(run.last("tokens")),
      speed: formatNumber(perS),
      mfu: mfu === null ? "–" : `${(100 * mfu).toFixed(1)}%`,
      left: formatTime(left),
      skipped: formatNumber(run.last("skipped")),
      rollbacks: String(run.noted("rollback").length),
    };
    const row = body.rows[index];
    row.querySelector(".name").textContent = run.name;
    row.querySelector(".device").textContent = run.start?.device ?? "";
    row.querySelector("button").setAttribute("aria-pressed", String(run.shown));
    for (const [name, text] of Object.entries(fields)) {
      const cell = row.querySelector(`[data-field=${name}]`);
      if (cell.textContent !== text) cell.textContent = text;
    }
  });
  const names = runs.map(({ name }) => name).join(", ");
  document.title = names === "" ? "TitanBit" : `${names} – TitanBit`;
}

function runRow(run) {
  const button = element(
    "button",
    {
      type: "button",
      title: "Show or hide",
      onclick: () => {
        run.shown = !run.shown;
        draw();
      },
    },
    element("span", { className: "name" }),
  );
  button.style.setProperty("--color", `var(--run-${run.index % 6})`);
  const head = element("th", { scope: "row" }, button, element("span", { className: "device" }));
  const row = element("tr", {}, head);
  row.dataset.run = run.id;
  const names = ["step", "loss", "validation", "bits", "tokens", "speed", "mfu", "left", "skipped"];
  for (const name of [...names, "rollbacks"]) {
    const cell = element("td");
    cell.dataset.field = name;
    row.append(cell);
  }
  return row;
}

function formatTime(seconds) {
  if (seconds === null || !Number.isFinite(seconds)) return "–";
  if (seconds <= 0) return "done";
  if (seconds < 60) return `${Math.ceil(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.round(hours / 24)} days`;
}

function drawEvents() {
  const withCheckpoints = byId("checkpoints").checked;
  const events = context.runs.flatMap((run) => run.notes.map((note) => ({ run, ...note })))
    .filter(({ kind }) => withCheckpoints || kind !== "checkpoint");
  // Of one run they are in the order in which they came, of several by step.
  if (context.runs.length > 1) events.sort((a, b) => a.step - b.step);
  const latest = events.slice(-MOST_EVENTS).reverse();
  const shape = JSON.stringify(latest.map(({ run, step, text }) => [run.id, step, text]));
  const list = byId("events");
  if (list.dataset.shape === shape) return;
  list.dataset.shape = shape;
  list.replaceChildren(
    ...latest.map(({ run, step, kind, text }) => {
      const item = element(
        "li",
        {},
        element("span", { className: "step", textContent: `step ${step}` }),
        runs.length > 1 ? `${run.name}: ${text}` : text,
      );
      item.dataset.kind = kind;
      item.style.setProperty("--color", `var(--run-${run.index % 6})`);
      return item;
    }),
  );
  if (latest.length === 0) {
    list.append(element("li", { className: "empty", textContent: "none yet" }));
  }
}

function drawConfigs() {
  const shape = JSON.stringify(runs.map(({ name, config }) => [name, config]));
  const box = byId("configs");
  if (box.dataset.shape === shape) return;
  box.dataset.shape = shape;
  box.replaceChildren(
    ...runs.map(({ name, config }) =>
      element(
        "details",
        { open: runs.length === 1 },
        element("summary", { textContent: name }),
        config === null
          ? element("p", { className: "empty", textContent: "no checkpoint holds it yet" })
          : element("pre", { textContent: config }),
      )
    ),
  );
}

// ---- Data ------------------------------------------------------------------------------------------------------------

async function loadAll() {
  const response = await fetch("/api/runs");
  if (!response.ok) throw new Error(await response.text());
  const found = await response.json();
  position = found.position;
  found.runs.forEach((summary, index) => {
    if (runs[index] === undefined) runs.push(new Run(summary, index));
    else runs[index].read(summary);
  });
  await Promise.all(runs.map((run) => run.load(smoothing(), range)));
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
    for (const run of runs) await run.loadPart(smoothing(), range);
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
byId("log").addEventListener("change", draw);
byId("checkpoints").addEventListener("change", drawEvents);
byId("reset").addEventListener("click", () => context.zoom(null));
byId("controls").addEventListener("submit", (event) => event.preventDefault());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const chart of charts.values()) chart.redraw();
});

showWindow();
try {
  await loadAll();
  draw();
  follow();
} catch (error) {
  showStatus("waiting", `cannot load the runs: ${error.message}`);
}
