/**
 * Draws losses as a line chart in SVG.
 *
 *     deno run -A tests/reference/plot_curves.ts --out curve.svg --title "…" [--name A --name B] a.jsonl b.json
 *
 * Files are `metrics.jsonl` of training runs (validation losses become dots) or curves of loss_curve.ts and loss_curve.py.
 *
 * - `--x step|tokens`: the axis; `--log-x` makes it logarithmic
 * - `--smooth N`: lines are means over N neighbouring records, with the records faint behind them
 * - `--difference`: a second panel with each curve's difference from the first file's, in percent; `--allowed P` marks ±P
 * - `--to Y`: losses above Y are cut off, for a start that would flatten the rest
 */

import { parseArgs } from "@std/cli";
import { basename, dirname } from "@std/path";
import { decodeRecord } from "../../lib/metrics/records.ts";

/** A point of a curve. */
export interface Point {
  readonly step: number;
  readonly tokens: number;
  readonly loss: number;
}

/** Losses of one run. */
export interface Curve {
  readonly name: string;
  readonly points: readonly Point[];
  /** Held-out losses. */
  readonly validation: readonly Point[];
}

/** Options of {@linkcode drawCurves}. */
export interface DrawOptions {
  readonly title: string;
  /** @default "step" */
  readonly x?: "step" | "tokens";
  /** @default false */
  readonly logX?: boolean;
  /** Records that a mean is taken over. @default 1 */
  readonly smooth?: number;
  /** Whether a second panel shows differences from the first curve. @default false */
  readonly difference?: boolean;
  /** Percent that the second panel marks. @default none */
  readonly allowed?: number;
  /** Largest loss shown. @default the largest */
  readonly to?: number;
}

interface XY {
  readonly x: number;
  readonly y: number;
}

/** Pixels to values of one axis. */
interface Axis {
  readonly at: (value: number) => number;
  readonly ticks: readonly number[];
}

interface Box {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

const WIDTH = 860;
const LEFT = 70;
const PLOT = WIDTH - LEFT - 24;
const COLORS = ["#2563a8", "#d1601f", "#2f8a4c", "#8a4fa3", "#b1283a", "#66707c"];
const INK = "#24292f";
const FAINT = "#e3e5e8";

/** Reads a file of losses by what is in it. Throws `Error` where it holds none. */
export function parseCurve(text: string, path: string): Curve {
  const points: Point[] = [];
  const validation: Point[] = [];
  let name = basename(path).startsWith("metrics")
    ? basename(dirname(path))
    : basename(path).replace(/\.\w+$/, "");
  const whole = path.endsWith(".json") ? JSON.parse(text) : null;
  if (whole !== null) {
    name = whole.name ?? name;
    const tokens = whole.tokens_per_step ?? 0;
    for (const { step, loss } of whole.steps) points.push({ step, tokens: step * tokens, loss });
  } else {
    for (const line of text.split("\n")) {
      const record = decodeRecord(line);
      if (record?.type === "step") points.push(record);
      if (record?.type === "validation") validation.push(record);
    }
  }
  const finite = points.filter(({ loss }) => Number.isFinite(loss) && loss !== null);
  if (finite.length === 0) throw new Error(`Cannot draw ${path} as it holds no losses`);
  return { name, points: finite, validation };
}

/** The chart as SVG: losses above, differences below where asked for. */
export function drawCurves(curves: readonly Curve[], options: DrawOptions): string {
  const { x: field = "step", logX = false, smooth = 1, difference = false } = options;
  const xOf = (point: Point) => field === "step" ? point.step : point.tokens;
  const legend = 46 + 20 * Math.ceil(curves.length / 2);
  const top = { left: LEFT, top: legend + 14, width: PLOT, height: difference ? 270 : 340 };
  const bottom = { ...top, top: top.top + top.height + 40, height: 120 };
  const last = difference ? bottom : top;
  const height = last.top + last.height + 52;

  const xs = curves.flatMap(({ points }) => points.map(xOf));
  const xAxis = axis(Math.min(...extent(xs)), Math.max(...extent(xs)), top.left, PLOT, logX);
  const losses = curves.flatMap(({ points, validation }) =>
    [...points, ...validation].map(({ loss }) => loss)
  );
  const [low, high] = extent(losses);
  const yAxis = padded(low, Math.min(high, options.to ?? high), top);

  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" ` +
    `font-family="system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif" font-size="13" fill="${INK}">`,
    `<rect x="0.5" y="0.5" width="${WIDTH - 1}" height="${
      height - 1
    }" rx="8" fill="#fcfcfb" stroke="#d0d4d9"/>`,
    `<text x="${LEFT}" y="30" font-size="17" font-weight="600">${escape(options.title)}</text>`,
    ...curves.map(({ name }, index) => legendEntry(name, index)),
    curves.some(({ validation }) => validation.length > 0) ? heldOutEntry() : "",
    frame(top, xAxis, yAxis, { name: "loss (nats a token)", digits: String }),
    `<clipPath id="losses"><rect x="${top.left}" y="${top.top}" width="${PLOT}" height="${top.height}"/></clipPath>`,
    `<g clip-path="url(#losses)">`,
  ];
  for (const [index, { points, validation }] of curves.entries()) {
    const color = COLORS[index % COLORS.length]!;
    const raw = points.map((point) => ({ x: xAxis.at(xOf(point)), y: yAxis.at(point.loss) }));
    if (smooth > 1) parts.push(line(raw, color, `stroke-opacity="0.25" stroke-width="1"`));
    const smoothed = means(points, smooth).map((loss, i) => ({ x: raw[i]!.x, y: yAxis.at(loss) }));
    // A curve that another covers shows through its gaps.
    const dashes = difference && index > 0 ? ` stroke-dasharray="7 5"` : "";
    parts.push(line(smoothed, color, `stroke-width="2"${dashes}`));
    for (const point of validation) {
      parts.push(
        `<circle cx="${round(xAxis.at(xOf(point)))}" cy="${
          round(yAxis.at(point.loss))
        }" r="3.2" fill="#fcfcfb" stroke="${color}" stroke-width="1.6"/>`,
      );
    }
  }
  parts.push("</g>");
  if (difference) parts.push(drawDifferences(curves, bottom, xAxis, { xOf, options }));
  parts.push(xLabels(last, xAxis, field === "step" ? "optimizer step" : "training tokens"));
  return parts.join("\n") + "\n</svg>\n";
}

/** Differences from the first curve at the steps that both have, in percent. */
function drawDifferences(
  [first, ...others]: readonly Curve[],
  box: Box,
  xAxis: Axis,
  { xOf, options }: { xOf: (point: Point) => number; options: DrawOptions },
): string {
  const base = new Map(first!.points.map(({ step, loss }) => [step, loss]));
  const lines = others.map(({ points }) =>
    points.filter(({ step }) => base.has(step))
      .map((point) => ({ x: xOf(point), y: 100 * (point.loss / base.get(point.step)! - 1) }))
  );
  const values = lines.flat().map(({ y }) => Math.abs(y));
  const reach = Math.max(1.1 * (options.allowed ?? 0), ...extent(values)) || 1;
  const yAxis = padded(-reach, reach, box);
  const parts = [
    frame(box, xAxis, yAxis, {
      name: "difference (%)",
      digits: (value) => value > 0 ? `+${value}` : String(value),
    }),
  ];
  for (const value of options.allowed === undefined ? [] : [options.allowed, -options.allowed]) {
    const y = round(yAxis.at(value));
    parts.push(
      `<path d="M${box.left} ${y}h${PLOT}" stroke="#b1283a" stroke-dasharray="4 4" fill="none"/>`,
    );
  }
  for (const [index, points] of lines.entries()) {
    const places = points.map(({ x, y }) => ({ x: xAxis.at(x), y: yAxis.at(y) }));
    parts.push(line(places, COLORS[(index + 1) % COLORS.length]!, `stroke-width="1.5"`));
  }
  return parts.join("\n");
}

// ---- Parts of a chart ------------------------------------------------------------------------------------------------

function legendEntry(name: string, index: number): string {
  const x = LEFT + (index % 2) * (PLOT / 2);
  const y = 54 + 20 * Math.floor(index / 2);
  const color = COLORS[index % COLORS.length]!;
  return `<path d="M${x} ${y - 4}h22" stroke="${color}" stroke-width="3"/>` +
    `<text x="${x + 30}" y="${y}">${escape(name)}</text>`;
}

function heldOutEntry(): string {
  const x = LEFT + PLOT;
  return `<circle cx="${x - 92}" cy="50" r="3.2" fill="none" stroke="${INK}" stroke-width="1.6"/>` +
    `<text x="${x}" y="54" text-anchor="end">held-out text</text>`;
}

/** Grid, frame and the vertical axis. */
function frame(
  box: Box,
  xAxis: Axis,
  yAxis: Axis,
  label: { name: string; digits: (value: number) => string },
): string {
  const { left, top, width, height } = box;
  const grid = [
    ...yAxis.ticks.map((value) => `M${left} ${round(yAxis.at(value))}h${width}`),
    ...xAxis.ticks.map((value) => `M${round(xAxis.at(value))} ${top}v${height}`),
  ].join("");
  const labels = yAxis.ticks.map((value) =>
    `<text x="${left - 8}" y="${round(yAxis.at(value) + 4.5)}" text-anchor="end">${
      label.digits(value)
    }</text>`
  );
  const middle = top + height / 2;
  return `<path d="${grid}" stroke="${FAINT}" fill="none"/>` +
    `<rect x="${left}" y="${top}" width="${width}" height="${height}" fill="none" stroke="#9aa1a9"/>` +
    labels.join("") +
    `<text transform="translate(20 ${middle}) rotate(-90)" text-anchor="middle">${label.name}</text>`;
}

function xLabels(box: Box, xAxis: Axis, name: string): string {
  const y = box.top + box.height;
  const labels = xAxis.ticks.map((value) =>
    `<text x="${round(xAxis.at(value))}" y="${y + 18}" text-anchor="middle">${amount(value)}</text>`
  );
  return labels.join("") +
    `<text x="${box.left + box.width / 2}" y="${y + 40}" text-anchor="middle">${name}</text>`;
}

/** A line; of the points of a pixel's column the mean. */
function line(points: readonly XY[], color: string, style: string): string {
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
function padded(low: number, high: number, { top, height }: Box): Axis {
  const room = 0.06 * (high - low) || Math.abs(high) || 1;
  return axis(low - room, high + room, top + height, -height, false);
}

function axis(low: number, high: number, start: number, length: number, log: boolean): Axis {
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
      (_, index) => Number(((first + index) * step).toPrecision(6)),
    ),
  };
}

/** Mean of up to `window` records around each; of fewer near the ends, where losses fall fast. */
function means(points: readonly Point[], window: number): number[] {
  const sums = [0];
  for (const { loss } of points) sums.push(sums.at(-1)! + loss);
  return points.map((_, index) => {
    const reach = Math.min(
      Math.floor(window / 2),
      Math.floor(index / 4),
      points.length - 1 - index,
    );
    const [from, to] = [index - reach, index + reach + 1];
    return (sums[to]! - sums[from]!) / (to - from);
  });
}

function extent(values: readonly number[]): [low: number, high: number] {
  return values.reduce<[number, number]>(
    ([low, high], value) => [Math.min(low, value), Math.max(high, value)],
    [Infinity, -Infinity],
  );
}

/** 1500000 as 1.5M. */
function amount(value: number): string {
  for (const [size, letter] of [[1e9, "B"], [1e6, "M"], [1e4, "k"]] as const) {
    if (value >= size) {
      return `${Number((value / (letter === "k" ? 1e3 : size)).toPrecision(4))}${letter}`;
    }
  }
  return String(value);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function main(): void {
  const args = parseArgs(Deno.args, {
    string: ["out", "title", "name", "x", "smooth", "allowed", "to"],
    boolean: ["log-x", "difference"],
    collect: ["name"],
    default: { title: "Training loss", x: "step", smooth: "1" },
  });
  const out = args.out as string | undefined;
  if (out === undefined || args._.length === 0) {
    throw new Error("Cannot draw without --out FILE.svg and at least one file of losses");
  }
  const curves = args._.map((path, index) => {
    const curve = parseCurve(Deno.readTextFileSync(String(path)), String(path));
    return { ...curve, name: (args.name as string[])[index] ?? curve.name };
  });
  const number = (value: unknown) => value === undefined ? undefined : Number(value);
  const allowed = number(args.allowed);
  const to = number(args.to);
  const svg = drawCurves(curves, {
    title: String(args.title),
    x: args.x as "step" | "tokens",
    logX: Boolean(args["log-x"]),
    smooth: Number(args.smooth),
    difference: Boolean(args.difference),
    ...(allowed !== undefined && { allowed }),
    ...(to !== undefined && { to }),
  });
  Deno.writeTextFileSync(out, svg);
}

if (import.meta.main) main();
