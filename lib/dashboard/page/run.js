/**
 * A run as the page knows it: what the server said of it and what came since.
 *
 * @module
 */

/** Points of a whole run or of a part of it. */
export const POINTS = 2000;

/** Notes that a run ends with. */
const ENDS = new Set(["finished", "interrupted", "stopped"]);
/** A run that is silent for shorter may be evaluating, or writing a checkpoint. */
const LEAST_SILENCE_MS = 300_000;

/** A run's numbers, kept up to date. */
export class Run {
  /** Whether its lines are drawn. */
  shown = true;
  /** Times that it was read anew: what was fetched before may be of steps that are undone. */
  reads = 0;
  /** The whole run, thinned out, and what came since as it is. */
  columns = { step: [] };
  /** The machine's figures, likewise. */
  machine = { step: [] };
  /** The part that is looked at, `null` for the whole. */
  part = null;
  /** Rows of the machine that the server has told of. */
  #machineRows = 0;
  #smooth = { sum: 0, weight: 0 };
  #window = 1;

  constructor(summary, index) {
    this.index = index;
    this.read(summary);
  }

  /** Takes what `/api/runs` says. */
  read(summary) {
    this.reads++;
    this.id = summary.id;
    this.name = summary.name;
    this.start = summary.start;
    this.clip = summary.max_grad_norm;
    this.config = summary.config;
    this.problems = summary.problems;
    this.settings = summary.settings;
    /** When the server's file was last written, by this page's clock; null while there is none. */
    this.heardAt = summary.silent_ms === null ? null : performance.now() - summary.silent_ms;
    this.validations = summary.validations;
    this.notes = summary.notes;
    this.ternary = summary.ternary;
    this.samples = summary.samples;
  }

  /** Fetches the whole run. */
  async load(window) {
    const whole = await this.#fetch(window, null);
    this.#window = window;
    this.#smooth = whole.smooth ?? { sum: 0, weight: 0 };
    this.columns = whole.columns;
    this.machine = whole.machine;
    this.#machineRows = whole.position.machine;
  }

  /** Fetches the part of the steps `range` alone; `null` forgets it. */
  async loadPart(window, range) {
    this.part = range === null ? null : await this.#fetch(window, range);
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
  append({ columns, validations, notes, machine, ternary, samples, problems }) {
    this.heardAt = performance.now();
    this.problems = problems;
    const last = this.columns.step.at(-1) ?? 0;
    const steps = columns.step ?? [];
    for (let row = 0; row < steps.length; row++) {
      // Between two requests a row can come twice.
      if (steps[row] > last) this.#appendRow(columns, row);
    }
    const lastValidation = this.validations.at(-1)?.step ?? 0;
    this.validations.push(...validations.filter(({ step }) => step > lastValidation));
    this.notes.push(...notes);
    this.samples.push(...samples);
    this.ternary = ternary;
    this.#appendMachine(machine);
    const started = notes.some(({ kind }) => kind === "run");
    const longest = Math.max(this.columns.step.length, this.machine.step.length);
    return started || longest > 2 * POINTS;
  }

  #appendMachine({ from, columns }) {
    const rows = columns.step?.length ?? 0;
    for (let row = Math.max(0, this.#machineRows - from); row < rows; row++) {
      const length = this.machine.step.length;
      for (const name of Object.keys(columns)) {
        this.machine[name] ??= new Array(length).fill(null);
      }
      for (const [name, values] of Object.entries(this.machine)) {
        values.push(columns[name]?.[row] ?? null);
      }
    }
    this.#machineRows = Math.max(this.#machineRows, from + rows);
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

  /** Columns of steps, of the machine (`machine`) or of held-out figures (`validations`), over the whole run. */
  table(from) {
    if (from === "machine") return this.machine;
    if (from !== "validations") return this.columns;
    const names = ["step", "loss", "bits_per_byte"];
    return Object.fromEntries(
      names.map((name) => [name, this.validations.map((one) => one[name] ?? null)]),
    );
  }

  /** What charts draw of these columns. */
  drawn(from) {
    if (this.part === null || from === "validations") return this.table(from);
    return from === "machine" ? this.part.machine : this.part.columns;
  }

  /** A step as a place of an axis: in between as far between, beyond the last record at the last. */
  toX(step, { column }) {
    return between(step, this.columns.step, this.columns[column] ?? []);
  }

  /** The step of a place, likewise. */
  toStep(place, { column }) {
    return between(place, this.columns[column] ?? [], this.columns.step);
  }

  /** Whether a column holds a number. */
  has(name, from) {
    return this.table(from)[name]?.some((value) => value !== null) ?? false;
  }

  /** The last number of a column, `null` where there is none. */
  last(name, from) {
    return this.table(from)[name]?.findLast((value) => value !== null) ?? null;
  }

  /** The smallest number of its validations. */
  best(name) {
    const values = this.validations.map((one) => one[name]).filter((value) => value !== null);
    return values.length === 0 ? null : Math.min(...values);
  }

  /** What it is doing, as the last word of it tells; `silent` where that is long ago. */
  get state() {
    const last = this.notes.findLast(({ kind }) => ENDS.has(kind) || kind === "run");
    if (this.start === null) return this.columns.step.length > 0 ? "unknown" : "waiting";
    // Where so much has happened since that its start isn't among the notes any more, it goes on.
    if (last !== undefined && last.kind !== "run") return last.kind;
    const records = this.columns.step;
    const steps = (records.at(-1) ?? 0) - (records.at(-2) ?? 0);
    const recordMs = steps * (this.last("step_ms") ?? 0);
    return this.silentMs > Math.max(LEAST_SILENCE_MS, 20 * recordMs) ? "silent" : "running";
  }

  /** Time since its file was written. */
  get silentMs() {
    return this.heardAt === null ? 0 : performance.now() - this.heardAt;
  }

  /** Seconds that the rest of its steps takes at the present speed; null where it isn't running, or none is known. */
  get leftS() {
    const perS = this.last("tokens_per_s");
    if (this.state !== "running" || !perS) return null;
    return (this.start.steps - (this.last("step") ?? 0)) * this.start.tokens_per_step / perS;
  }

  /** Notes of a kind. */
  noted(kind) {
    return this.notes.filter((note) => note.kind === kind);
  }
}

/** The value at `place`, by the rising `places` that `values` belong to, from 0 at 0 on. */
function between(place, places, values) {
  let [low, high] = [0, places.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (places[middle] < place) low = middle + 1;
    else high = middle;
  }
  if (low === places.length) return values.at(-1) ?? 0;
  const [from, to] = [places[low - 1] ?? 0, places[low]];
  const [start, end] = [values[low - 1] ?? 0, values[low]];
  return to > from ? start + (end - start) * (place - from) / (to - from) : end;
}
