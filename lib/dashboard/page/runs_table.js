/**
 * The table of runs: what became of each, what sets it apart, and the key of the colours.
 *
 * @module
 */

import { element } from "./lists.js";
import { formatNumber, formatPercent, formatTime } from "./numbers.js";

/** Columns: their title, what they sort by, and what they say where that isn't the number itself. */
const COLUMNS = [
  { field: "name", title: "Run", value: (run) => run.name },
  { field: "loss", title: "Loss", hint: "of the last record", value: (run) => run.last("loss") },
  { field: "state", title: "State", value: (run) => run.state, text: stateText },
  { field: "step", title: "Step", value: (run) => run.last("step"), text: stepText },
  {
    field: "left",
    title: "Left",
    value: (run) => run.leftS,
    text: (run) => formatTime(run.leftS === null ? null : 1000 * run.leftS),
  },
  { field: "validation", title: "Best validation", value: (run) => run.best("loss") },
  { field: "bits", title: "Bits per byte", value: (run) => run.best("bits_per_byte") },
  { field: "tokens", title: "Tokens", value: (run) => run.last("tokens") },
  { field: "speed", title: "Tokens/s", value: (run) => run.last("tokens_per_s") },
  {
    field: "mfu",
    title: "MFU",
    value: (run) => run.last("mfu_bf16"),
    text: (run) => formatPercent(run.last("mfu_bf16")),
  },
  { field: "skipped", title: "Skipped", value: (run) => run.last("skipped") },
  { field: "rollbacks", title: "Rollbacks", value: (run) => run.noted("rollback").length },
  { field: "device", title: "Device", value: (run) => run.start?.device ?? null },
];

/** Before which of them settings stand. */
const SETTINGS_AT = COLUMNS.findIndex(({ field }) => field === "validation");

/** The table of runs, sorted by the column that was asked for. */
export class RunsTable {
  #table;
  #redraw;
  #shape = "";
  #rows = new Map();
  /** Field, and 1 for rising or -1 for falling; null for the order in which runs were given. */
  #sort = null;

  /** @param redraw Called where a run was shown or hidden. */
  constructor(table, redraw) {
    this.#table = table;
    this.#redraw = redraw;
  }

  /** Shows what the runs are at. */
  draw(runs) {
    const columns = columnsOf(runs);
    const shape = JSON.stringify([columns.map(({ field }) => field), runs.map(({ id }) => id)]);
    if (shape !== this.#shape) this.#build(runs, columns);
    this.#shape = shape;
    for (const run of runs) {
      const row = this.#rows.get(run);
      row.querySelector("button").setAttribute("aria-pressed", String(run.shown));
      row.dataset.state = run.state;
      for (const { field, value, text = (one) => formatValue(value(one)) } of columns) {
        const cell = row.querySelector(`[data-field="${field}"]`);
        const said = text(run);
        if (cell.textContent !== said) cell.textContent = said;
      }
    }
    this.#order(runs, columns);
    const names = runs.map(({ name }) => name).join(", ");
    document.title = names === "" ? "TitanBit" : `${names} – TitanBit`;
  }

  #build(runs, columns) {
    const heads = columns.map(({ field, title, hint }) => {
      const sort = () => {
        const before = this.#sort?.field === field ? this.#sort.direction : 0;
        this.#sort = before === -1 ? null : { field, direction: before === 0 ? 1 : -1 };
        this.draw(runs);
      };
      const button = element("button", { type: "button", textContent: title, onclick: sort });
      button.title = hint === undefined ? "Sort" : `${hint}; sort`;
      const head = element("th", { scope: "col" }, button);
      head.dataset.sorts = field;
      return head;
    });
    this.#table.tHead.replaceChildren(element("tr", {}, ...heads));
    this.#rows = new Map(runs.map((run) => [run, this.#row(run, columns)]));
    this.#table.tBodies[0].replaceChildren(...this.#rows.values());
  }

  #row(run, columns) {
    const show = () => {
      run.shown = !run.shown;
      this.#redraw();
    };
    const name = element("span", { className: "name" });
    name.dataset.field = "name";
    const button = element(
      "button",
      { type: "button", title: "Show or hide", onclick: show },
      name,
    );
    button.style.setProperty("--color", `var(--run-${run.index})`);
    const cells = columns.slice(1).map(({ field }) => {
      const cell = element("td");
      cell.dataset.field = field;
      return cell;
    });
    const row = element("tr", {}, element("th", { scope: "row" }, button), ...cells);
    row.dataset.run = run.id;
    return row;
  }

  /** Puts rows in order; those without a value last, whichever way. */
  #order(runs, columns) {
    const column = columns.find(({ field }) => field === this.#sort?.field);
    for (const head of this.#table.tHead.rows[0].cells) {
      const sorts = column !== undefined && head.dataset.sorts === column.field;
      const direction = this.#sort?.direction === 1 ? "ascending" : "descending";
      head.setAttribute("aria-sort", sorts ? direction : "none");
    }
    const sorted = column === undefined
      ? runs
      : runs.toSorted((a, b) => compare(column.value(a), column.value(b), this.#sort.direction));
    const body = this.#table.tBodies[0];
    sorted.forEach((run, index) => {
      const row = this.#rows.get(run);
      if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] ?? null);
    });
  }
}

/** The columns, with one for each setting that differs between runs. */
function columnsOf(runs) {
  const keys = [...new Set(runs.flatMap(({ settings }) => Object.keys(settings)))];
  const settings = keys.map((key) => ({
    field: key,
    title: key,
    value: ({ settings }) => numberOr(settings[key] ?? null),
    text: ({ settings }) => settings[key] ?? "–",
  }));
  return [...COLUMNS.slice(0, SETTINGS_AT), ...settings, ...COLUMNS.slice(SETTINGS_AT)];
}

function numberOr(text) {
  return text !== null && text !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
}

function compare(a, b, direction) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a === "number" && typeof b === "number") return direction * (a - b);
  return direction * String(a).localeCompare(String(b), "en", { numeric: true });
}

function formatValue(value) {
  return typeof value === "string" ? value : formatNumber(value);
}

function stepText(run) {
  const step = run.last("step");
  const steps = run.start?.steps ?? null;
  return steps === null ? String(step ?? "–") : `${step ?? 0} / ${steps}`;
}

function stateText(run) {
  return run.state === "silent" ? `silent for ${formatTime(run.silentMs, 2)}` : run.state;
}
