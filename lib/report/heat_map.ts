/**
 * A statistic of the ternary weights as a picture in SVG: layers from top to bottom, steps from left to right.
 *
 * @module
 */

import type { HeatMap } from "../history/ternary_history.ts";
import { amount, axis, escape, LEFT, opening, PLOT, round, xLabels } from "./svg_parts.ts";

/** Colours from the smallest value to the largest. */
const STOPS = [[251, 243, 208], [159, 208, 179], [63, 155, 168], [44, 95, 148], [43, 28, 82]];
/** Shades that values are told apart by: neighbours of one shade are drawn as one. */
const LEVELS = 24;
const HEIGHT = 200;
const LEAST_ROW = 3;
const MOST_ROW = 20;
const TOP = 62;

/** The picture; empty where no value is known. */
export function drawHeatMap(map: HeatMap, title: string): string {
  const { layers, names, steps, values, unit } = map;
  const rows = layers * names.length;
  const [low, high] = values.reduce<[number, number]>(
    ([least, most], value) =>
      value === null ? [least, most] : [Math.min(least, value), Math.max(most, value)],
    [Infinity, -Infinity],
  );
  if (low > high) return "";
  const rowHeight = Math.min(MOST_ROW, Math.max(LEAST_ROW, HEIGHT / rows));
  const height = rows * rowHeight;
  const edges = edgesOf(steps);
  const xAxis = axis(edges[0]!, edges.at(-1)!, LEFT, PLOT, false);
  const levelOf = (value: number | null) =>
    value === null
      ? -1
      : high === low
      ? LEVELS >> 1
      : Math.min(LEVELS - 1, Math.floor(LEVELS * (value - low) / (high - low)));
  const paths: string[] = new Array(LEVELS).fill("");
  for (let row = 0; row < rows; row++) {
    const y = round(TOP + row * rowHeight);
    const down = round(TOP + (row + 1) * rowHeight) - y;
    for (let from = 0; from < steps.length;) {
      const level = levelOf(values[from * rows + row]!);
      let to = from + 1;
      while (to < steps.length && levelOf(values[to * rows + row]!) === level) to++;
      if (level !== -1) {
        const left = round(xAxis.at(edges[from]!));
        const right = round(xAxis.at(edges[to]!));
        paths[level] += `M${left} ${y}H${right}v${round(down)}H${left}z`;
      }
      from = to;
    }
  }
  const box = { left: LEFT, top: TOP, width: PLOT, height };
  const name = `${title}, ${escape(names.join(", "))} of each layer`;
  return [
    opening(title, TOP + height + 52).replace(
      "<svg ",
      `<svg role="img" aria-label="${escape(title)}" `,
    ),
    `<title>${escape(name)}</title>`,
    legend(low, high, unit),
    ...paths.map((path, level) =>
      path === "" ? "" : `<path d="${path}" fill="${shade(level)}" shape-rendering="crispEdges"/>`
    ),
    ...layerLabels(layers, height),
    xLabels(box, xAxis, "optimizer step"),
    "</svg>\n",
  ].filter((part) => part !== "").join("\n");
}

/** Where columns begin; one more, the end of the last. A column ends at its own step. */
function edgesOf(steps: readonly number[]): number[] {
  const begin = steps.length > 1 ? 2 * steps[0]! - steps[1]! : steps[0]! - 1;
  return [Math.min(steps[0]! - 1, Math.max(0, begin)), ...steps];
}

function shade(level: number): string {
  const place = level / (LEVELS - 1) * (STOPS.length - 1);
  const index = Math.min(STOPS.length - 2, Math.floor(place));
  const [from, to] = [STOPS[index]!, STOPS[index + 1]!];
  const hex = from.map((channel, at) =>
    Math.round(channel + (place - index) * (to[at]! - channel)).toString(16).padStart(2, "0")
  );
  return `#${hex.join("")}`;
}

/** The shades between the numbers that they go from and to. */
function legend(low: number, high: number, unit: string): string {
  const width = 6;
  const left = LEFT + 70;
  const steps = Array.from(
    { length: LEVELS },
    (_, level) =>
      `<rect x="${left + level * width}" y="42" width="${width}" height="10" fill="${
        shade(level)
      }"/>`,
  );
  return `<text x="${left - 8}" y="52" text-anchor="end">${short(low)}</text>` +
    steps.join("") +
    `<text x="${left + LEVELS * width + 8}" y="52">${short(high)} ${escape(unit)}</text>`;
}

function short(value: number): string {
  return amount(Number(value.toPrecision(4)));
}

function layerLabels(layers: number, height: number): string[] {
  const each = height / layers;
  const every = Math.ceil(14 / each);
  return Array.from(
    { length: layers },
    (_, layer) =>
      layer % every === 0
        ? `<text x="${LEFT - 8}" y="${
          round(TOP + (layer + 0.5) * each + 4.5)
        }" text-anchor="end">layer ${layer}</text>`
        : "",
  );
}
