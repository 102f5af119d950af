/**
 * Charts of panels.
 *
 * @module
 */

import { Legend } from "./legend.js";
import { color, marksPlugin, runColor } from "./marks.js";
import { formatNumber, tickLabels } from "./numbers.js";

const { uPlot } = globalThis;
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]];
const HEIGHT = 220;
/** Distances of ticks on an axis of bytes. */
const POWERS_OF_TWO = Array.from({ length: 40 }, (_, power) => 2 ** (power + 10));

/** Room of an axis of values, its least and that of a letter. */
const AXIS_WIDTH = 62;
const LETTER_WIDTH = 6.5;

/** How far outside of what is seen charts are drawn already. */
const NEAR = "300px";

/** One chart: a figure with a canvas that is drawn anew when its lines change, and filled anew when their numbers do. */
export class Chart {
  #plot = null;
  #shape = "";
  #box = document.createElement("div");
  #legend = new Legend();
  #lines = [];
  /** Whether it is seen, or nearly: else it waits with what there is to draw. */
  #near = false;
  #waits = false;

  /** @param context `{ runs, isLog, x, zoom(range), range, extent }`, asked when needed. */
  constructor(panel, context) {
    this.panel = panel;
    this.context = context;
    this.figure = document.createElement("figure");
    this.figure.dataset.panel = panel.id;
    if (panel.wide) this.figure.classList.add("wide");
    const caption = document.createElement("figcaption");
    caption.textContent = panel.title;
    const unit = document.createElement("span");
    unit.className = "unit";
    unit.textContent = panel.unit;
    caption.append(unit);
    this.figure.append(caption, this.#box, this.#legend.element);
    new ResizeObserver(() => this.#resize()).observe(this.#box);
    new IntersectionObserver((entries) => this.#moved(entries.at(-1).isIntersecting), {
      rootMargin: NEAR,
    }).observe(this.figure);
  }

  #moved(near) {
    this.#near = near;
    if (near && this.#waits) this.update();
  }

  /** Shows the numbers that there are now, once the chart is near to being seen. */
  update() {
    this.#waits = !this.#near;
    this.figure.toggleAttribute("data-waits", this.#waits);
    if (this.#waits) return;
    const lines = this.#drawable();
    this.#lines = lines;
    const isLog = this.panel.logged === true && this.context.isLog;
    const shape = JSON.stringify([
      isLog,
      this.context.x.column,
      lines.map(({ run, column }) => [run.id, run.name, column]),
    ]);
    const data = this.#data(lines);
    if (this.#plot === null || shape !== this.#shape) {
      this.#shape = shape;
      this.#draw(lines, { isLog, data });
    } else {
      this.#plot.setData(data, false);
      this.#fit();
    }
    this.#describe(lines);
  }

  /** Draws the same anew, in the colours that the page has now. */
  redraw() {
    this.#shape = "";
    this.update();
  }

  /** Lines that there are numbers for, with their looks: with several runs a colour a run, and dashes for a run's lines. */
  #drawable() {
    const { runs, x } = this.context;
    const { panel } = this;
    const lines = runs.filter((run) => run.has(x.column)).flatMap((run) =>
      panel.series.map((series, index) => ({ ...series, run, index }))
    ).filter(({ run, column }) => run.has(column, panel.from));
    const several = new Set(lines.map(({ run }) => run)).size > 1;
    const layered = panel.series.some((series) => series.faint);
    const byRun = several || layered || panel.series.length === 1;
    return lines.map((line) => {
      const faint = line.faint === true && line.run.has("loss_smooth");
      const stroke = runColor(byRun ? line.run.index : line.index);
      return {
        ...line,
        stroke: faint ? `${stroke}80` : stroke,
        width: faint ? 1 : 1.75,
        dash: byRun && !layered ? DASHES[line.index % DASHES.length] : [],
      };
    });
  }

  /** One table a run, joined by their places on the horizontal axis. */
  #data(lines) {
    if (lines.length === 0) return [[]];
    const tables = new Map();
    const { x } = this.context;
    for (const { run, column } of lines) {
      const drawn = run.drawn(this.panel.from);
      const table = tables.get(run) ??
        [x.column === "step" ? drawn.step : drawn.step.map((step) => run.toX(step, x))];
      table.push(drawn[column] ?? new Array(drawn.step.length).fill(null));
      tables.set(run, table);
    }
    return tables.size === 1 ? [...tables.values()][0] : uPlot.join([...tables.values()]);
  }

  #draw(lines, { isLog, data }) {
    this.#plot?.destroy();
    this.#legend.take(lines);
    const format = this.#format;
    const { x } = this.context;
    const axis = {
      stroke: () => color("soft"),
      grid: { stroke: () => color("grid"), width: 1 },
      ticks: { stroke: () => color("grid"), width: 1, size: 4 },
      font: "11px system-ui, 'DejaVu Sans', sans-serif",
    };
    this.#plot = new uPlot(
      {
        width: Math.max(this.#box.clientWidth, 200),
        height: HEIGHT,
        cursor: {
          sync: { key: "step" },
          drag: { x: true, y: false, setScale: false },
          bind: { dblclick: () => () => this.context.zoom(null) },
        },
        scales: {
          x: { time: false, auto: false },
          y: { distr: isLog ? 3 : 1, range: isLog ? rangeOfLog : rangeOf },
        },
        axes: [
          {
            ...{ ...axis, size: 32, space: 70, incrs: x.gaps },
            values: (_, ticks) => tickLabels(ticks, x.format),
          },
          {
            ...axis,
            size: (_, labels) => {
              const longest = Math.max(0, ...(labels ?? []).map(({ length }) => length));
              return Math.max(AXIS_WIDTH, Math.ceil(LETTER_WIDTH * longest) + 14);
            },
            ...(this.panel.binary && { incrs: POWERS_OF_TWO }),
            values: (_, ticks) => tickLabels(ticks, format),
          },
        ],
        legend: { show: false },
        series: [
          {},
          ...lines.map(({ stroke, width, dash, points }) => ({
            ...{ stroke, width, dash },
            points: points ? { show: true, size: 6, fill: stroke } : { show: false },
          })),
        ],
        hooks: {
          setCursor: [() => this.#tell()],
          setScale: [({ scales: { x } }) => {
            this.figure.dataset.steps = `${Math.round(x.min)} to ${Math.round(x.max)}`;
          }],
          setSelect: [(plot) => {
            const { left, width } = plot.select;
            if (width < 4) return;
            this.context.zoom([plot.posToVal(left, "x"), plot.posToVal(left + width, "x")]);
            plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
          }],
        },
        plugins: [marksPlugin(this.panel, this.context)],
      },
      data,
      this.#box,
    );
    this.#fit();
  }

  get #format() {
    return this.panel.format ?? formatNumber;
  }

  /** Tells the values under the pointer; without one the last. */
  #tell() {
    const plot = this.#plot;
    const { idx, left, top } = plot?.cursor ?? {};
    const format = this.#format;
    const { x } = this.context;
    if (typeof idx !== "number" || left < 0) {
      const { from } = this.panel;
      this.#legend.showLast(this.#lines.map(({ run, column }) => format(run.last(column, from))));
      return;
    }
    const values = this.#lines.map((_, line) => valueAt(plot.data[line + 1], idx));
    const place = plot.data[0][idx];
    this.#legend.showAt(
      x.column === "step" ? `step ${place}` : x.format(place, 4),
      values.map((value) => format(value)),
      values.map((value) => value === null ? Infinity : Math.abs(plot.valToPos(value, "y") - top)),
    );
  }

  /** The part that is looked at, or all that are drawn. */
  #fit() {
    const [min, max] = this.context.range ?? this.context.extent;
    this.#plot.setScale("x", { min, max: max > min ? max : min + 1 });
    this.#tell();
  }

  #resize() {
    const width = this.#box.clientWidth;
    if (this.#plot !== null && width > 0 && width !== this.#plot.width) {
      this.#plot.setSize({ width, height: HEIGHT });
    }
  }

  /** What a screen reader says of the canvas. */
  #describe(lines) {
    const format = this.#format;
    const said = lines.map(({ run, column, label }) =>
      `${run.name} ${label} ${format(run.last(column, this.panel.from))}`
    );
    const canvas = this.#box.querySelector("canvas");
    canvas?.setAttribute("role", "img");
    canvas?.setAttribute(
      "aria-label",
      `${this.panel.title} by ${this.context.x.name}; last: ${said.join(", ")}`,
    );
  }
}

/**
 * The value of a column in a row; where rows of several runs are joined and it has none there, the nearer of those before and after.
 * Before a line's begin and after its end it has none.
 */
function valueAt(column, row) {
  let [before, after] = [row, row];
  while (before >= 0 && (column[before] ?? null) === null) before--;
  while (after < column.length && (column[after] ?? null) === null) after++;
  if (before < 0 || after === column.length) return null;
  return column[row - before <= after - row ? before : after];
}

function rangeOf(_plot, low, high) {
  if (low === null) return [0, 1];
  const room = 0.06 * (high - low) || 0.1 * Math.abs(high) || 1;
  // Of what can't be negative the axis doesn't go below 0.
  return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
}

function rangeOfLog(_plot, low, high) {
  if (low === null || low <= 0) return [0.1, 10];
  return [low / 1.08, high * 1.08];
}
