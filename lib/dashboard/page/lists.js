/**
 * What stands around the charts: the runs, their events, samples and configs.
 *
 * @module
 */

import { formatNumber } from "./panels.js";

const byId = (id) => document.getElementById(id);
const MOST_EVENTS = 300;
const MOST_SAMPLES = 60;

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** The table of runs; `redraw` is called where one was shown or hidden. */
export function drawRuns(runs, redraw) {
  const body = document.querySelector("#runs tbody");
  while (body.rows.length < runs.length) body.append(runRow(runs[body.rows.length], redraw));
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

function runRow(run, redraw) {
  const button = element(
    "button",
    {
      type: "button",
      title: "Show or hide",
      onclick: () => {
        run.shown = !run.shown;
        redraw();
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

/** What happened to the runs shown, the latest first. */
export function drawEvents(runs) {
  const withCheckpoints = byId("checkpoints").checked;
  const events = runs.flatMap((run) => run.notes.map((note) => ({ run, ...note })))
    .filter(({ kind }) => withCheckpoints || kind !== "checkpoint");
  // Of one run they are in the order in which they came, of several by step.
  if (runs.length > 1) events.sort((a, b) => a.step - b.step);
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

/** The runs' configs. */
export function drawConfigs(runs) {
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

/** What the models of the runs shown wrote, the latest first. */
export function drawSamples(runs) {
  const samples = runs.flatMap((run) => run.samples.map((sample) => ({ run, ...sample })));
  // The sort is stable: those of a step stay in the order of the prompts.
  const latest = samples.toSorted((a, b) => b.step - a.step).slice(0, MOST_SAMPLES);
  byId("samples-card").hidden = latest.length === 0;
  const shape = JSON.stringify(latest.map(({ run, step, prompt, text }) => [
    ...[run.id, step, prompt, text],
  ]));
  const list = byId("samples");
  if (list.dataset.shape === shape) return;
  list.dataset.shape = shape;
  list.replaceChildren(...latest.map(({ run, step, prompt, text, error }) => {
    const item = element(
      "li",
      {},
      element("span", {
        className: "step",
        textContent: runs.length > 1 ? `${run.name}, step ${step}` : `step ${step}`,
      }),
      element("b", { textContent: prompt }),
      error ? element("em", { textContent: ` ${error}` }) : text,
    );
    item.style.setProperty("--color", `var(--run-${run.index % 6})`);
    return item;
  }));
}
