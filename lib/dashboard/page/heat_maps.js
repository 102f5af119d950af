/**
 * The ternary weights as pictures: layers from top to bottom, steps from left to right, a statistic as the colour.
 *
 * @module
 */

import { color } from "./marks.js";
import { formatNumber, tickLabels } from "./numbers.js";

/** Room for labels, in CSS pixels. */
const LEFT = 74;
const BOTTOM = 22;
/** Of a row. */
const LEAST_HEIGHT = 3;
const MOST_HEIGHT = 22;
const HEIGHT = 240;
const STOPS = 5;

/** One picture a run, of the statistic and the projection that are chosen, in one scale of colours. */
export class HeatMaps {
  #maps = new Map();
  #near = false;

  /** @param parts `{ section, statistic, projection, box }`, elements; `context` as charts have it. */
  constructor(parts, context) {
    this.parts = parts;
    this.context = context;
    parts.statistic.addEventListener("change", () => this.update());
    parts.projection.addEventListener("change", () => this.redraw());
    new IntersectionObserver((entries) => {
      this.#near = entries.at(-1).isIntersecting;
      if (this.#near) this.update();
    }, { rootMargin: "300px" }).observe(parts.section);
    new ResizeObserver(() => this.redraw()).observe(parts.box);
  }

  /** Takes the statistics that the server knows. */
  offer(statistics) {
    const { statistic } = this.parts;
    if (statistic.options.length > 0) return;
    statistic.append(...statistics.map(({ field, title }) => new Option(title, field)));
  }

  /** Shows what there is now, fetching what isn't here yet once it is near to being seen. */
  async update() {
    const runs = this.#runs();
    this.parts.section.hidden = runs.length === 0;
    if (!this.#near || runs.length === 0) return;
    const field = this.parts.statistic.value;
    await Promise.all(runs.map(async (run) => {
      const range = this.context.steps(run);
      const key = JSON.stringify([field, range, run.ternary, run.reads]);
      if (this.#maps.get(run)?.key === key) return;
      const query = new URLSearchParams({ run: run.id, statistic: field });
      if (range !== null) {
        query.set("from", Math.max(0, Math.floor(range[0])));
        query.set("to", Math.max(0, Math.ceil(range[1])));
      }
      const response = await fetch(`/api/ternary?${query}`);
      if (!response.ok) throw new Error(`the server answered ${response.status}`);
      const map = await response.json();
      // Another one may have been asked for while this one was on its way.
      if (field === this.parts.statistic.value) this.#maps.set(run, { ...map, key });
    }));
    this.redraw();
  }

  /** Draws the same anew, in the size and the colours that the page has now. */
  redraw() {
    const runs = this.#runs().filter((run) => this.#maps.has(run));
    this.#offerProjections(runs);
    const chosen = this.parts.projection.value;
    const pictures = runs.map((run) => ({ run, ...rowsOf(this.#maps.get(run), chosen) }));
    const known = pictures.flatMap(({ values }) => values).filter((value) => value !== null);
    const scale = known.reduce(
      ([low, high], value) => [Math.min(low, value), Math.max(high, value)],
      [Infinity, -Infinity],
    );
    const { box } = this.parts;
    while (box.children.length > pictures.length) box.lastChild.remove();
    while (box.children.length < pictures.length) box.append(emptyFigure());
    pictures.forEach((picture, index) => {
      drawFigure(box.children[index], picture, {
        scale,
        steps: this.context.steps(picture.run) ?? this.context.allSteps,
        named: this.context.runs.length > 1,
      });
    });
  }

  #runs() {
    return this.context.runs.filter((run) => run.ternary > 0);
  }

  #offerProjections(runs) {
    const { projection } = this.parts;
    const names = [...new Set(runs.flatMap((run) => this.#maps.get(run).names))];
    const shape = JSON.stringify(names);
    if (projection.dataset.shape === shape || names.length === 0) return;
    const before = projection.value;
    projection.dataset.shape = shape;
    projection.replaceChildren(
      new Option("all", ""),
      ...names.map((name) => new Option(name.replaceAll("_", " and "), name)),
    );
    projection.value = names.includes(before) ? before : "";
  }
}

/** The rows of a map that are shown: their labels, and values by column. */
function rowsOf(map, chosen) {
  const { layers, names, steps, values, title, unit } = map;
  const all = layers * names.length;
  const rows = Array.from({ length: all }, (_, row) => row)
    .filter((row) => chosen === "" || names[row % names.length] === chosen);
  return {
    ...{ title, unit, steps },
    labels: rows.map((row) =>
      `layer ${Math.floor(row / names.length)} ${
        names[row % names.length].replaceAll("_", " and ")
      }`
    ),
    layers: rows.map((row) => Math.floor(row / names.length)),
    values: steps.flatMap((_, column) => rows.map((row) => values[column * all + row])),
  };
}

function emptyFigure() {
  const figure = document.createElement("figure");
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  const legend = document.createElement("div");
  legend.className = "heat-legend";
  const parts = ["low", "ramp", "high", "value"].map((name) => {
    const part = document.createElement(name === "value" ? "output" : "span");
    part.className = name;
    return part;
  });
  legend.append(...parts);
  figure.append(document.createElement("figcaption"), canvas, legend);
  return figure;
}

function drawFigure(figure, picture, { scale: [low, high], steps: [first, last], named }) {
  const { run, title, unit, steps, labels, layers, values } = picture;
  const caption = figure.querySelector("figcaption");
  const unitPart = document.createElement("span");
  unitPart.className = "unit";
  unitPart.textContent = unit;
  caption.replaceChildren(named ? `${run.name}: ${title}` : title, unitPart);
  const known = low <= high;
  figure.querySelector(".low").textContent = known ? formatNumber(low) : "no numbers";
  figure.querySelector(".high").textContent = known ? formatNumber(high) : "";
  figure.querySelector(".ramp").hidden = !known;
  figure.dataset.columns = String(steps.length);

  const canvas = figure.querySelector("canvas");
  const rowHeight = Math.min(MOST_HEIGHT, Math.max(LEAST_HEIGHT, HEIGHT / labels.length));
  const width = Math.max(160, figure.clientWidth - 24);
  const height = Math.round(rowHeight * labels.length);
  const ratio = devicePixelRatio;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round((height + BOTTOM) * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height + BOTTOM}px`;
  canvas.setAttribute(
    "aria-label",
    `${title} of ${run.name}, layers by steps; from ${formatNumber(known ? low : null)} to ${
      formatNumber(known ? high : null)
    }`,
  );
  const ctx = canvas.getContext("2d");
  ctx.scale(ratio, ratio);
  const plot = width - LEFT;
  const at = (step) => LEFT + plot * (step - first) / Math.max(1, last - first);
  /** To whole pixels of the screen, so that cells have no seams between them. */
  const snap = (place) => Math.round(place * ratio) / ratio;
  const edges = edgesOf(steps, first);
  const ramp = rampOf();
  ctx.save();
  ctx.beginPath();
  ctx.rect(LEFT, 0, plot, height);
  ctx.clip();
  for (let column = 0; column < steps.length; column++) {
    const left = snap(at(edges[column]));
    const columnWidth = snap(at(edges[column + 1])) - left;
    for (let row = 0; row < labels.length; row++) {
      const value = values[column * labels.length + row];
      if (value === null) continue;
      ctx.fillStyle = ramp(high > low ? (value - low) / (high - low) : 0.5);
      const top = snap(row * rowHeight);
      ctx.fillRect(left, top, columnWidth, snap((row + 1) * rowHeight) - top);
    }
  }
  ctx.restore();
  drawAxes(ctx, { plot, height, rowHeight, layers, first, last, at });

  const value = figure.querySelector(".value");
  value.textContent = "";
  canvas.onpointermove = ({ offsetX, offsetY }) => {
    const step = first + (offsetX - LEFT) / plot * (last - first);
    const row = Math.floor(offsetY / rowHeight);
    const column = edges.findLastIndex((edge) => edge <= step);
    const inside = offsetX >= LEFT && row >= 0 && row < labels.length && column >= 0 &&
      column < steps.length;
    value.textContent = inside
      ? `step ${steps[column]}, ${labels[row]}: ${
        formatNumber(values[column * labels.length + row])
      }`
      : "";
  };
  canvas.onpointerleave = () => value.textContent = "";
}

/** Where columns begin: each ends at its own step; one more, the end of the last. */
function edgesOf(steps, first) {
  if (steps.length === 0) return [];
  const begin = steps.length > 1 ? 2 * steps[0] - steps[1] : first;
  return [Math.min(steps[0] - 1, Math.max(0, begin)), ...steps];
}

function drawAxes(ctx, { plot, height, rowHeight, layers, first, last, at }) {
  ctx.fillStyle = color("soft");
  ctx.font = "11px system-ui, 'DejaVu Sans', sans-serif";
  ctx.textBaseline = "middle";
  ctx.textAlign = "right";
  let free = -Infinity;
  for (const [row, layer] of layers.entries()) {
    if (layers[row - 1] === layer) continue;
    const rows = layers.filter((one) => one === layer).length;
    const y = (row + rows / 2) * rowHeight;
    if (y - free < 13) continue;
    ctx.fillText(`layer ${layer}`, LEFT - 8, y);
    free = y;
  }
  ctx.textBaseline = "top";
  ctx.textAlign = "center";
  const rough = (last - first) / Math.max(1, plot / 90);
  const power = 10 ** Math.floor(Math.log10(Math.max(1, rough)));
  const gap = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const ticks = [];
  for (let step = Math.ceil(first / gap) * gap; step <= last; step += gap) ticks.push(step);
  for (const [index, label] of tickLabels(ticks, formatNumber).entries()) {
    const x = at(ticks[index]);
    if (x > LEFT + plot - 12) break;
    ctx.fillText(label, x, height + 6);
  }
}

/** 0 to 1 as a colour, through the page's own stops. */
function rampOf() {
  const stops = Array.from({ length: STOPS }, (_, index) => {
    const hex = color(`heat-${index}`);
    return [1, 3, 5].map((place) => parseInt(hex.slice(place, place + 2), 16));
  });
  return (share) => {
    const place = Math.min(1, Math.max(0, share)) * (STOPS - 1);
    const index = Math.min(STOPS - 2, Math.floor(place));
    const mixed = stops[index].map((from, channel) =>
      Math.round(from + (place - index) * (stops[index + 1][channel] - from))
    );
    return `rgb(${mixed.join(" ")})`;
  };
}
