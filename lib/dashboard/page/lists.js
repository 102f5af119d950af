/**
 * What stands below the charts: events, samples and configs.
 *
 * @module
 */

const byId = (id) => document.getElementById(id);
const MOST_EVENTS = 300;
const MOST_SAMPLES = 60;

/** A new element. */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** What happened to the runs shown, the latest first. */
export function drawEvents(runs) {
  const withCheckpoints = byId("checkpoints").checked;
  const events = runs.flatMap((run) => run.notes.map((note) => ({ run, ...note })))
    .filter(({ kind }) => withCheckpoints || kind !== "checkpoint");
  // Of one run they are in the order in which they came, of several by step.
  if (runs.length > 1) events.sort((a, b) => a.step - b.step);
  const latest = events.slice(-MOST_EVENTS).reverse();
  const problems = runs.flatMap((run) => (run.problems ?? []).map((text) => ({ run, text })));
  const shape = JSON.stringify([
    ...problems.map(({ run, text }) => [run.id, text]),
    ...latest.map(({ run, step, text }) => [run.id, step, text]),
  ]);
  const list = byId("events");
  if (list.dataset.shape === shape) return;
  list.dataset.shape = shape;
  list.replaceChildren(
    ...problems.map(({ run, text }) => {
      const item = element("li", { textContent: runs.length > 1 ? `${run.name}: ${text}` : text });
      item.dataset.kind = "problem";
      return item;
    }),
    ...latest.map(({ run, step, kind, text }) => {
      const item = element(
        "li",
        {},
        element("span", { className: "step", textContent: `step ${step}` }),
        runs.length > 1 ? `${run.name}: ${text}` : text,
      );
      item.dataset.kind = kind;
      item.style.setProperty("--color", `var(--run-${run.index})`);
      return item;
    }),
  );
  if (latest.length + problems.length === 0) {
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
    item.style.setProperty("--color", `var(--run-${run.index})`);
    return item;
  }));
}
