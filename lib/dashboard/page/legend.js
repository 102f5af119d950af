/**
 * What stands below a chart: what its lines are, and their values.
 *
 * @module
 */

/** Lines of several runs that are all listed. */
const MOST_LISTED = 4;
/** Of more those nearest to the pointer. */
const NEAREST = 3;

/** The legend of one chart. */
export class Legend {
  #lines = [];
  #several = false;
  /** Whether lines are too many to list all of them. */
  #many = false;
  /** Whether lines of a run are told apart. */
  #fields = false;
  element = document.createElement("div");

  constructor() {
    this.element.className = "legend";
  }

  /**
   * Takes the lines: `{ run, label, stroke, width, dash }`. With several runs the table of runs is the key of their colours; of lines
   * that are too many to list, what the dashes of a run's lines mean is.
   */
  take(lines) {
    this.#lines = lines;
    this.#several = new Set(lines.map(({ run }) => run)).size > 1;
    this.#many = this.#several && lines.length > MOST_LISTED;
    this.#fields = new Set(lines.map(({ label }) => label)).size > 1;
    this.element.classList.toggle("many", this.#many);
  }

  /** Shows the last values: `values[i]` of line i as text. */
  showLast(values) {
    if (this.#many) this.element.replaceChildren(...this.#key(), `${values.length} lines`);
    else this.element.replaceChildren("last", ...this.#entries(values, values.keys()));
  }

  /** Shows the values under the pointer, which is at `place` and so far from each line as `distances` say. */
  showAt(place, values, distances) {
    const rows = [...values.keys()];
    if (!this.#many) {
      this.element.replaceChildren(place, ...this.#entries(values, rows));
      return;
    }
    const listed = rows.toSorted((a, b) => distances[a] - distances[b]).slice(0, NEAREST);
    const rest = `and ${rows.length - listed.length} more`;
    this.element.replaceChildren(place, ...this.#entries(values, listed), rest);
  }

  #entries(values, indices) {
    return Array.from(indices, (index) => {
      const line = this.#lines[index];
      const names = [...(this.#several ? [line.run.name] : []), line.label];
      const name = this.#several && !this.#fields ? line.run.name : names.join(" ");
      const value = document.createElement("b");
      value.textContent = values[index];
      return entry(name, line, value);
    });
  }

  #key() {
    if (!this.#fields) return [];
    const lines = new Map(this.#lines.map((line) => [line.label, line]));
    return [...lines].map(([label, line]) => entry(label, { ...line, stroke: "currentColor" }));
  }
}

function entry(name, { stroke, width, dash }, ...more) {
  const made = document.createElement("span");
  const line = document.createElement("i");
  line.style.borderTopColor = stroke;
  line.style.borderTopWidth = width > 1 ? "2px" : "1px";
  if (dash.length > 0) line.style.borderTopStyle = dash[0] > 4 ? "dashed" : "dotted";
  made.append(line, name, ...more);
  return made;
}
