/**
 * Charts of panels.
 *
 * @module
 */

import { color, marksPlugin, runColor } from "./marks.js";
import { formatNumber } from "./panels.js";

const { uPlot } = globalThis;
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]];
const HEIGHT = 220;
/** Distances of ticks on an axis of bytes. */
const POWERS_OF_TWO = Array.from({ length: 40 }, (_, power) => 2 ** (power + 10));

/** How far outside of what is seen charts are drawn already. */
const NEAR = "300px";

/** One chart: a figure with a canvas that is drawn anew when its lines change, and filled anew when their numbers do. */
export class Chart {
  #plot = null;
  #shape = "";
  #box = document.createElement("div");
  /** Whether it is seen, or nearly: else it waits with what there is to draw. */
  #near = false;
  #waits = false;

  /** @param context `{ runs, isLog, zoom(range), range }`, asked when needed. */
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
    this.figure.append(caption, this.#box);
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
    const lines = this.#lines();
    const isLog = this.panel.logged === true && this.context.isLog;
    const shape = JSON.stringify([
      isLog,
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

  #lines() {
    const { runs } = this.context;
    return runs.flatMap((run) =>
      this.panel.series.map((series, index) => ({ ...series, run, index }))
    ).filter(({ run, column }) => run.has(column, this.panel.from));
  }

  /** One table a run, joined by step. */
  #data(lines) {
    if (lines.length === 0) return [[]];
    const tables = new Map();
    for (const { run, column } of lines) {
      const drawn = run.drawn(this.panel.from);
      const table = tables.get(run) ?? [drawn.step];
      table.push(drawn[column] ?? new Array(drawn.step.length).fill(null));
      tables.set(run, table);
    }
    return tables.size === 1 ? [...tables.values()][0] : uPlot.join([...tables.values()]);
  }

  #draw(lines, { isLog, data }) {
    this.#plot?.destroy();
    const several = new Set(lines.map(({ run }) => run)).size > 1;
    const format = this.panel.format ?? formatNumber;
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
          { ...axis, size: 32, values: (_, ticks) => ticks.map(formatNumber) },
          {
            ...axis,
            size: 62,
            ...(this.panel.binary && { incrs: POWERS_OF_TWO }),
            values: (_, ticks) => ticks.map((tick) => tick === null ? "" : format(tick)),
          },
        ],
        legend: { markers: { width: 2 } },
        series: [
          { label: "step", value: (_, value) => value === null ? "–" : String(value) },
          ...lines.map((line) => this.#series(line, several, format)),
        ],
        hooks: {
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
        plugins: [marksPlugin(this.panel, () => this.context.runs)],
      },
      data,
      this.#box,
    );
    this.#fit();
  }

  /** With one run a colour a line; with several a colour a run, and dashes tell its lines apart. */
  #series({ run, label, index, points, ...line }, several, format) {
    const faint = line.faint === true && run.has("loss_smooth");
    const layered = this.panel.series.some((series) => series.faint);
    const byRun = several || layered || this.panel.series.length === 1;
    const stroke = runColor(byRun ? run.index : index);
    return {
      label: several ? `${run.name} ${label}` : label,
      stroke: faint ? `${stroke}80` : stroke,
      width: faint ? 1 : 1.75,
      dash: byRun && !layered ? DASHES[index % DASHES.length] : [],
      points: points ? { show: true, size: 6, fill: stroke } : { show: false },
      value: (_, value) => format(value),
    };
  }

  /** The steps that are looked at, or all that are drawn. */
  #fit() {
    const [min, max] = this.context.range ?? this.context.extent;
    this.#plot.setScale("x", { min, max: max > min ? max : min + 1 });
    // Without a pointer the legend tells the last numbers, once the chart is drawn.
    const plot = this.#plot;
    setTimeout(() => {
      if (plot !== this.#plot || plot.cursor.left >= 0) return;
      plot.setLegend({ idx: plot.data[0].length - 1 }, false);
    });
  }

  #resize() {
    const width = this.#box.clientWidth;
    if (this.#plot !== null && width > 0 && width !== this.#plot.width) {
      this.#plot.setSize({ width, height: HEIGHT });
    }
  }

  /** What a screen reader says of the canvas. */
  #describe(lines) {
    const format = this.panel.format ?? formatNumber;
    const said = lines.map(({ run, column, label }) =>
      `${run.name} ${label} ${format(run.last(column, this.panel.from))}`
    );
    const canvas = this.#box.querySelector("canvas");
    canvas?.setAttribute("role", "img");
    canvas?.setAttribute("aria-label", `${this.panel.title} by step; last: ${said.join(", ")}`);
  }
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
