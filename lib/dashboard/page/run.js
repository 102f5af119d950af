/**
 * A run as the page knows it: what the server said of it and what came since.
 *
 * @module
 */

/** Points of a whole run or of a part of it. */
export const POINTS = 2000;

/** A run's numbers, kept up to date. */
export class Run {
  /** Whether its lines are drawn. */
  shown = true;
  /** The whole run, thinned out, and what came since as it is. */
  columns = { step: [] };
  /** The part that is looked at, `null` for the whole. */
  part = null;
  #smooth = { sum: 0, weight: 0 };
  #window = 1;

  constructor(summary, index) {
    this.index = index;
    this.read(summary);
  }

  /** Takes what `/api/runs` says. */
  read(summary) {
    this.id = summary.id;
    this.name = summary.name;
    this.start = summary.start;
    this.clip = summary.max_grad_norm;
    this.config = summary.config;
    this.validations = summary.validations;
    this.notes = summary.notes;
  }

  /** Fetches the whole run, and the part `range` where there is one. */
  async load(window, range) {
    const whole = await this.#fetch(window, null);
    this.#window = window;
    this.#smooth = whole.smooth ?? { sum: 0, weight: 0 };
    this.columns = whole.columns;
    await this.loadPart(window, range);
  }

  /** Fetches the part `range` alone; `null` forgets it. */
  async loadPart(window, range) {
    this.part = range === null ? null : (await this.#fetch(window, range)).columns;
  }

  async #fetch(window, range) {
    const query = new URLSearchParams({ run: this.id, points: POINTS, smooth: window });
    if (range !== null) {
      query.set("from", Math.max(0, Math.floor(range[0])));
      query.set("to", Math.max(0, Math.ceil(range[1])));
    }
    const response = await fetch(`/api/series?${query}`);
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    return await response.json();
  }

  /** Adds what is new; whether so much has come that the whole is to be thinned out again. */
  append({ columns, validations, notes }) {
    const last = this.columns.step.at(-1) ?? 0;
    const steps = columns.step ?? [];
    for (let row = 0; row < steps.length; row++) {
      // Between two requests a row can come twice.
      if (steps[row] > last) this.#appendRow(columns, row);
    }
    const lastValidation = this.validations.at(-1)?.step ?? 0;
    this.validations.push(...validations.filter(({ step }) => step > lastValidation));
    this.notes.push(...notes);
    const started = notes.some(({ kind }) => kind === "run");
    return started || this.columns.step.length > 2 * POINTS;
  }

  #appendRow(columns, row) {
    const length = this.columns.step.length;
    for (const name of Object.keys(columns)) {
      this.columns[name] ??= new Array(length).fill(null);
    }
    for (const [name, values] of Object.entries(this.columns)) {
      if (name !== "loss_smooth") values.push(columns[name]?.[row] ?? null);
    }
    const loss = columns.loss?.[row];
    if (loss === null || loss === undefined || this.#window <= 1) {
      this.columns.loss_smooth?.push(null);
      return;
    }
    const rate = 2 / (this.#window + 1);
    this.#smooth.sum += rate * (loss - this.#smooth.sum);
    this.#smooth.weight += rate * (1 - this.#smooth.weight);
    this.columns.loss_smooth ??= new Array(length).fill(null);
    this.columns.loss_smooth.push(this.#smooth.sum / this.#smooth.weight);
  }

  /** What charts draw of a column. */
  drawn(name) {
    return (this.part ?? this.columns)[name];
  }

  /** Whether a column holds a number. */
  has(name) {
    return this.columns[name]?.some((value) => value !== null) ?? false;
  }

  /** The last number of a column, `null` where there is none. */
  last(name) {
    return this.columns[name]?.findLast((value) => value !== null) ?? null;
  }

  /** The smallest number of its validations. */
  best(name) {
    const values = this.validations.map((one) => one[name]).filter((value) => value !== null);
    return values.length === 0 ? null : Math.min(...values);
  }

  /** Notes of a kind. */
  noted(kind) {
    return this.notes.filter((note) => note.kind === kind);
  }
}
