/**
 * One figure of runs over their steps, as a line chart in SVG: spikes stay, and what happened is marked.
 *
 * @module
 */

import {
  amount,
  axis,
  type Box,
  COLORS,
  escape,
  extent,
  frame,
  GROUND,
  INK,
  LEFT,
  legendEntry,
  opening,
  padded,
  PLOT,
  round,
  xLabels,
} from "./svg_parts.ts";

/** A line of a chart. */
export interface RunLine {
  readonly name: string;
  /** Place of its colour among {@linkcode COLORS}. */
  readonly color: number;
  /** Place of its dashes: lines of one run that have its colour. @default 0, none */
  readonly dash?: number;
  /** Steps and values; a value that is null leaves a gap. */
  readonly x: readonly (number | null)[];
  readonly y: readonly (number | null)[];
  /** `faint` lies behind another line of the same name and has no entry in the legend. @default "plain" */
  readonly style?: "plain" | "faint" | "dots";
}

/** Something that happened, drawn over all lines. */
export interface RunMarks {
  /** From a step to a later one: undone by a rollback, or left out. */
  readonly bands?: readonly { from: number; to: number; leftOut?: boolean }[];
  /** Steps and values; null is drawn at the upper edge. */
  readonly spikes?: readonly { step: number; value: number | null }[];
  /** A value across the chart. */
  readonly level?: number | null;
}

/** A chart with its title and the name of its unit. */
export interface RunChart {
  readonly title: string;
  readonly unit: string;
  readonly lines: readonly RunLine[];
  /** Names of colours and of dashes, where they stand for runs and for what is told of each. @default the lines' own */
  readonly key?: { readonly colors: readonly string[]; readonly dashes: readonly string[] };
  readonly marks?: RunMarks;
}

const HEIGHT = 220;
const DASHES = ["", "8 4", "2 3", "10 3 2 3"];
const WARN = "#b3261e";
const SKIP = "#b07a00";
/** Colour of the lines behind smoothed ones. */
const FAINT_OPACITY = 0.35;

/** The chart as SVG, empty where no line has a value. */
export function drawRunChart(chart: RunChart): string {
  const { title, unit, marks = {} } = chart;
  const lines = chart.lines.filter(({ y }) => y.some((value) => value !== null));
  if (lines.length === 0) return "";
  const entries = entriesOf({ ...chart, lines });
  const top = 46 + 20 * Math.ceil(entries.length / 2) + 14;
  const box: Box = { left: LEFT, top, width: PLOT, height: HEIGHT };
  const known = (values: readonly (number | null)[]) => values.filter((value) => value !== null);
  const [firstStep, lastStep] = extent(lines.flatMap(({ x }) => known(x)));
  const xAxis = axis(firstStep, lastStep, LEFT, PLOT, false);
  const level = typeof marks.level === "number" ? [marks.level] : [];
  const [low, high] = extent([...lines.flatMap(({ y }) => known(y)), ...level]);
  const yAxis = padded(low, high, box);
  const clip = `clip-${title.toLowerCase().replace(/[^a-z0-9]+/g, "-")}`;
  const height = top + HEIGHT + 52;
  return [
    opening(title, height).replace("<svg ", `<svg role="img" aria-label="${escape(title)}" `),
    ...entries.map(({ name, ...look }, index) => legendEntry(name, index, look)),
    frame(box, xAxis, yAxis, { name: escape(unit), digits: amount }),
    `<clipPath id="${clip}"><rect x="${LEFT}" y="${top}" width="${PLOT}" height="${HEIGHT}"/></clipPath>`,
    `<g clip-path="url(#${clip})">`,
    ...(marks.bands ?? []).map(({ from, to, leftOut }) => {
      const left = xAxis.at(from);
      const width = Math.max(2, xAxis.at(to) - left);
      return `<rect x="${round(left)}" y="${top}" width="${
        round(width)
      }" height="${HEIGHT}" fill="${leftOut ? SKIP : WARN}" fill-opacity="${
        leftOut ? 0.35 : 0.16
      }"/>`;
    }),
    ...level.map((value) =>
      `<path d="M${LEFT} ${
        round(yAxis.at(value))
      }h${PLOT}" stroke="${WARN}" stroke-dasharray="5 4" fill="none"/>`
    ),
    ...lines.map((line) => drawLine(line, xAxis.at, yAxis.at)),
    ...(marks.spikes ?? []).map(({ step, value }) => {
      const x = round(xAxis.at(step));
      const y = Math.max(top, value === null ? top : round(yAxis.at(value)));
      return `<path d="M${round(x - 5)} ${y}h10l-5 9z" fill="${WARN}"/>`;
    }),
    "</g>",
    xLabels(box, xAxis, "optimizer step"),
    "</svg>\n",
  ].join("\n");
}

/** What the legend lists. */
function entriesOf({ lines, key }: RunChart): { name: string; color: string; dash?: string }[] {
  if (key === undefined) {
    return lines.filter(({ style }) => style !== "faint")
      .map(({ name, color }) => ({ name, color: COLORS[color % COLORS.length]! }));
  }
  const known = (place: (line: RunLine) => number) => new Set(lines.map(place));
  const [colors, dashes] = [known(({ color }) => color), known(({ dash = 0 }) => dash)];
  return [
    ...key.colors.map((name, color) => ({ name, color, look: { color: COLORS[color]! } }))
      .filter(({ color }) => colors.has(color)),
    ...key.dashes.map((name, dash) => ({ name, dash, look: { color: INK, dash: dashesAt(dash) } }))
      .filter(({ dash }) => dashes.has(dash)),
  ].map(({ name, look }) => ({ name, ...look }));
}

function dashesAt(place: number): string {
  return DASHES[place % DASHES.length]!;
}

function drawLine(
  { x, y, color, dash = 0, style = "plain" }: RunLine,
  xAt: (value: number) => number,
  yAt: (value: number) => number,
): string {
  const stroke = COLORS[color % COLORS.length]!;
  let path = "";
  let pen = "M";
  const dots: string[] = [];
  for (let i = 0; i < x.length; i++) {
    const [step, value] = [x[i]!, y[i]!];
    if (step === null || value === null) {
      pen = "M";
      continue;
    }
    const place = [round(xAt(step)), round(yAt(value))];
    path += `${pen}${place.join(" ")}`;
    pen = "L";
    if (style === "dots") {
      dots.push(
        `<circle cx="${place[0]}" cy="${
          place[1]
        }" r="3.2" fill="${GROUND}" stroke="${stroke}" stroke-width="1.6"/>`,
      );
    }
  }
  const look = style === "faint"
    ? `stroke-opacity="${FAINT_OPACITY}" stroke-width="1"`
    : `stroke-width="1.8"${dash === 0 ? "" : ` stroke-dasharray="${dashesAt(dash)}"`}`;
  return `<path d="${path}" fill="none" stroke="${stroke}" stroke-linejoin="round" ${look}/>` +
    dots.join("");
}
