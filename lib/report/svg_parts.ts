/**
 * The parts that charts in SVG are made of.
 *
 * @module
 */

import { tickLabels } from "../dashboard/page/numbers.js";

/** A place on a chart, in pixels or in values. */
export interface XY {
  readonly x: number;
  readonly y: number;
}

/** Values to pixels of one axis. */
export interface Axis {
  readonly at: (value: number) => number;
  readonly ticks: readonly number[];
}

/** Where a plot lies. */
export interface Box {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** Width of a chart. */
export const WIDTH = 860;
/** Left edge of its plot. */
export const LEFT = 70;
/** Width of its plot. */
export const PLOT = WIDTH - LEFT - 24;
/** Colours of lines, one after the other: those of the dashboard's page on light ground. */
export const COLORS = [
  ...["#2468b0", "#cf5a17", "#510000", "#cc5dff", "#0100c2", "#a5276f"],
  ...["#6f4901", "#52027e", "#022343", "#8004f4", "#0e9d73", "#9887be"],
];
/** Colour of text. */
export const INK = "#24292f";
/** Colour of a chart's ground. */
export const GROUND = "#fcfcfb";
const FAINT = "#e3e5e8";

/** The opening of a chart: its element, ground and title. */
export function opening(title: string, height: number): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" ` +
    `font-family="system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif" font-size="13" fill="${INK}">\n` +
    `<rect x="0.5" y="0.5" width="${WIDTH - 1}" height="${
      height - 1
    }" rx="8" fill="${GROUND}" stroke="#d0d4d9"/>\n` +
    `<text x="${LEFT}" y="30" font-size="17" font-weight="600">${escape(title)}</text>`;
}

/** A line's name beside a piece of it, two in a row below the title. */
export function legendEntry(
  name: string,
  index: number,
  look: { color?: string; dash?: string } = {},
): string {
  const x = LEFT + (index % 2) * (PLOT / 2);
  const y = 54 + 20 * Math.floor(index / 2);
  const { color = COLORS[index % COLORS.length]!, dash = "" } = look;
  const dashes = dash === "" ? "" : ` stroke-dasharray="${dash}"`;
  return `<path d="M${x} ${y - 4}h22" stroke="${color}" stroke-width="3"${dashes}/>` +
    `<text x="${x + 30}" y="${y}">${escape(name)}</text>`;
}

/** Grid, frame and the vertical axis. */
export function frame(
  box: Box,
  xAxis: Axis,
  yAxis: Axis,
  label: { name: string; digits: (value: number, digits: number) => string },
): string {
  const { left, top, width, height } = box;
  const grid = [
    ...yAxis.ticks.map((value) => `M${left} ${round(yAxis.at(value))}h${width}`),
    ...xAxis.ticks.map((value) => `M${round(xAxis.at(value))} ${top}v${height}`),
  ].join("");
  const labels = tickLabels(yAxis.ticks, label.digits).map((text, index) =>
    `<text x="${left - 8}" y="${
      round(yAxis.at(yAxis.ticks[index]!) + 4.5)
    }" text-anchor="end">${text}</text>`
  );
  const middle = top + height / 2;
  return `<path d="${grid}" stroke="${FAINT}" fill="none"/>` +
    `<rect x="${left}" y="${top}" width="${width}" height="${height}" fill="none" stroke="#9aa1a9"/>` +
    labels.join("") +
    `<text transform="translate(20 ${middle}) rotate(-90)" text-anchor="middle">${label.name}</text>`;
}

/** The horizontal axis's labels and name. */
export function xLabels(box: Box, xAxis: Axis, name: string): string {
  const y = box.top + box.height;
  const labels = tickLabels(xAxis.ticks, amount).map((text, index) =>
    `<text x="${round(xAxis.at(xAxis.ticks[index]!))}" y="${
      y + 18
    }" text-anchor="middle">${text}</text>`
  );
  return labels.join("") +
    `<text x="${box.left + box.width / 2}" y="${y + 40}" text-anchor="middle">${name}</text>`;
}

/** A line; of the points of a pixel's column the mean. */
export function line(points: readonly XY[], color: string, style: string): string {
  const columns = new Map<number, { x: number; y: number; count: number }>();
  for (const { x, y } of points) {
    const column = columns.get(Math.round(2 * x)) ?? { x: 0, y: 0, count: 0 };
    columns.set(Math.round(2 * x), {
      x: column.x + x,
      y: column.y + y,
      count: column.count + 1,
    });
  }
  const places = Array.from(
    columns.values(),
    ({ x, y, count }) => `${round(x / count)} ${round(y / count)}`,
  );
  return `<path d="M${
    places.join("L")
  }" fill="none" stroke="${color}" stroke-linejoin="round" ${style}/>`;
}

/** An axis of a box's height with some room above and below. */
export function padded(low: number, high: number, { top, height }: Box): Axis {
  const room = 0.06 * (high - low) || Math.abs(high) || 1;
  return axis(low - room, high + room, top + height, -height, false);
}

/** An axis from `low` to `high` over `length` pixels from `start`, with ticks at round values. */
export function axis(low: number, high: number, start: number, length: number, log: boolean): Axis {
  if (log) {
    const from = Math.log10(Math.max(low, 1));
    const span = Math.log10(Math.max(high, 1)) - from || 1;
    const ticks: number[] = [];
    for (let power = Math.floor(from); 10 ** power <= high; power++) {
      for (const factor of span > 3 ? [1] : [1, 2, 5]) ticks.push(factor * 10 ** power);
    }
    return {
      at: (value) => start + length * (Math.log10(Math.max(value, 1)) - from) / span,
      ticks: ticks.filter((tick) => tick >= Math.max(low, 1) && tick <= high),
    };
  }
  const span = high - low || 1;
  const rough = span / (length < 0 ? -length / 45 : length / 75);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough)! * power;
  const first = Math.ceil(low / step);
  return {
    at: (value) => start + length * (value - low) / span,
    ticks: Array.from(
      { length: Math.floor(high / step) - first + 1 },
      (_, index) => Number(((first + index) * step).toPrecision(12)),
    ),
  };
}

/** Smallest and largest. */
export function extent(values: readonly number[]): [low: number, high: number] {
  return values.reduce<[number, number]>(
    ([low, high], value) => [Math.min(low, value), Math.max(high, value)],
    [Infinity, -Infinity],
  );
}

/** 1500000 as 1.5M, with so many digits. */
export function amount(value: number, digits = 4): string {
  for (const [size, letter] of [[1e9, "B"], [1e6, "M"], [1e4, "k"]] as const) {
    if (value >= size) {
      return `${Number((value / (letter === "k" ? 1e3 : size)).toPrecision(digits))}${letter}`;
    }
  }
  return String(value);
}

/** A pixel's place with one decimal. */
export function round(value: number): number {
  return Math.round(value * 10) / 10;
}

/** Text for markup. */
export function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll(
    '"',
    "&quot;",
  );
}
