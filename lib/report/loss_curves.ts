/**
 * Losses of runs beside each other, as a line chart in SVG.
 *
 * @module
 */

import {
  type Axis,
  axis,
  type Box,
  COLORS,
  extent,
  frame,
  GROUND,
  INK,
  LEFT,
  legendEntry,
  line,
  opening,
  padded,
  PLOT,
  round,
  xLabels,
} from "./svg_parts.ts";

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
    opening(options.title, height),
    ...curves.map(({ name }, index) => legendEntry(name, index)),
    curves.some(({ validation }) => validation.length > 0) ? heldOutEntry() : "",
    frame(top, xAxis, yAxis, {
      name: smooth > 1 ? `loss (nats a token), means of ${smooth} records` : "loss (nats a token)",
      digits: String,
    }),
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
        }" r="3.2" fill="${GROUND}" stroke="${color}" stroke-width="1.6"/>`,
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

function heldOutEntry(): string {
  const x = LEFT + PLOT;
  return `<circle cx="${x - 92}" cy="50" r="3.2" fill="none" stroke="${INK}" stroke-width="1.6"/>` +
    `<text x="${x}" y="54" text-anchor="end">held-out text</text>`;
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
