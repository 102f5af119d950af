/**
 * A roofline chart: how many operations a byte kernels do, how fast, and what memory and arithmetic would allow.
 *
 * @module
 */

import {
  type Axis,
  COLORS,
  escape,
  GROUND,
  INK,
  LEFT,
  opening,
  PLOT,
  round,
  type XY,
} from "../report/svg_parts.ts";
import type { KernelRow } from "./kernel_row.ts";
import type { Roofs } from "./roofs.ts";

/** What is drawn. */
export interface Roofline {
  readonly title: string;
  readonly roofs: Roofs;
  readonly rows: readonly KernelRow[];
}

const TOP = 48;
const HEIGHT = 440;
const LINE = 20;

/** A self-contained SVG on a ground of its own, so that it reads the same on a light and on a dark page. */
export function rooflineSvg({ title, roofs, rows }: Roofline): string {
  if (rows.length === 0) throw new RangeError("Cannot draw a roofline as there are no rows");
  const points = rows.map((row) => ({ x: row.operations / row.bytes, y: row.top_per_s }));
  const peaks = peaksOf(roofs);
  const highest = Math.max(...points.map(({ y }) => y), ...peaks.map(({ top }) => top));
  const ridge = peaks.length === 0 ? 0 : 1e12 * highest / roofs.memoryBytesPerS;
  const x = logAxis(
    Math.min(...points.map((point) => point.x)) / 2,
    Math.max(...points.map((point) => point.x), 2 * ridge) * 1.5,
    [LEFT, LEFT + PLOT],
  );
  const y = logAxis(
    Math.min(...points.map((point) => point.y)) / 2,
    highest * 1.8,
    [TOP + HEIGHT, TOP],
  );
  const places = points.map((point) => ({ x: x.at(point.x), y: y.at(point.y) }));
  const labels = placeLabels(places);
  const kernels = [...new Set(rows.map(({ kernel }) => kernel))];
  const color = (kernel: string) => COLORS[kernels.indexOf(kernel) % COLORS.length]!;
  const legendTop = TOP + HEIGHT + 72;
  const half = Math.ceil(rows.length / 2);
  const parts = [
    opening(title, legendTop + LINE * half + 4),
    grid(x, y),
    roofLines({ roofs, peaks, x, y }),
    ...rows.map((row, index) =>
      dot(places[index]!, labels[index]!, {
        color: color(row.kernel),
        number: index + 1,
        title: `${row.kernel}, ${row.shape}`,
      })
    ),
    ...rows.map((row, index) => {
      const left = LEFT + (index < half ? 0 : PLOT / 2) + 9;
      const top = legendTop + LINE * (index % half);
      const text = `${row.kernel}, ${row.shape}: ${digits(row.top_per_s)} TOP/s`;
      return marker({ x: left, y: top - 4.5 }, index + 1, color(row.kernel)) +
        `<text x="${left + 15}" y="${top}" font-size="12">${escape(text)}</text>`;
    }),
    "</svg>",
  ];
  return parts.join("\n") + "\n";
}

interface LogAxis extends Axis {
  readonly low: number;
  readonly high: number;
  /** Pixels of both ends. */
  readonly ends: readonly [number, number];
}

function logAxis(low: number, high: number, ends: readonly [number, number]): LogAxis {
  const span = Math.log10(high / low);
  const ticks: number[] = [];
  for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power++) {
    for (const factor of span > 3 ? [1] : [1, 2, 5]) ticks.push(factor * 10 ** power);
  }
  return {
    low,
    high,
    ends,
    ticks: ticks.filter((tick) => tick >= low && tick <= high),
    at: (value) => ends[0] + (ends[1] - ends[0]) * Math.log10(value / low) / span,
  };
}

function peaksOf({ peak }: Roofs): { name: string; top: number }[] {
  if (peak === null) return [];
  const found = (["bf16", "int8"] as const).flatMap((kind) =>
    peak[kind] === null ? [] : [{ name: kind, top: peak[kind] / 1e12 }]
  );
  return found;
}

function grid(x: LogAxis, y: LogAxis): string {
  const bottom = TOP + HEIGHT;
  const lines = [
    ...y.ticks.map((value) => `M${LEFT} ${round(y.at(value))}h${PLOT}`),
    ...x.ticks.map((value) => `M${round(x.at(value))} ${TOP}v${HEIGHT}`),
  ].join("");
  const labels = [
    ...y.ticks.map((value) =>
      `<text x="${LEFT - 8}" y="${round(y.at(value) + 4.5)}" text-anchor="end">${
        digits(value)
      }</text>`
    ),
    ...x.ticks.map((value) =>
      `<text x="${round(x.at(value))}" y="${bottom + 18}" text-anchor="middle">${
        digits(value)
      }</text>`
    ),
  ].join("");
  const middle = TOP + HEIGHT / 2;
  return `<path d="${lines}" stroke="#e3e5e8" fill="none"/>` +
    `<rect x="${LEFT}" y="${TOP}" width="${PLOT}" height="${HEIGHT}" fill="none" stroke="#9aa1a9"/>` +
    labels +
    `<text x="${LEFT + PLOT / 2}" y="${
      bottom + 40
    }" text-anchor="middle">operations a byte</text>` +
    `<text transform="translate(18 ${middle}) rotate(-90)" text-anchor="middle">TOP/s</text>`;
}

/** The memory's slope up to the highest peak, and a level for each peak from there on. */
function roofLines(
  { roofs, peaks, x, y }: {
    roofs: Roofs;
    peaks: readonly { name: string; top: number }[];
    x: LogAxis;
    y: LogAxis;
  },
): string {
  const slope = roofs.memoryBytesPerS / 1e12; // TOP/s at one operation a byte
  const top = Math.max(...peaks.map((peak) => peak.top), 0);
  const from = Math.max(x.low, y.low / slope);
  const to = Math.min(x.high, (top || y.high) / slope);
  const style = `fill="none" stroke="${INK}" stroke-width="1.5"`;
  const lines = [];
  if (from < to) {
    const [left, right] = [from, to].map((value) => ({ x: x.at(value), y: y.at(value * slope) }));
    const angle = Math.atan2(right!.y - left!.y, right!.x - left!.x) * 180 / Math.PI;
    const at = `${round(left!.x + 0.2 * (right!.x - left!.x))} ${
      round(left!.y + 0.2 * (right!.y - left!.y))
    }`;
    lines.push(
      `<path d="M${round(left!.x)} ${round(left!.y)}L${round(right!.x)} ${
        round(right!.y)
      }" ${style}/>`,
      `<text transform="translate(${at}) rotate(${round(angle)})" y="-6" font-size="12">memory, ${
        (roofs.memoryBytesPerS / 1e9).toFixed(0)
      } GB/s copied</text>`,
    );
  }
  for (const { name, top } of peaks) {
    const start = x.at(Math.min(x.high, Math.max(x.low, top / slope)));
    const level = round(y.at(top));
    lines.push(
      `<path d="M${round(start)} ${level}H${LEFT + PLOT}" ${style}/>`,
      // Left of its ridge lies nothing that could hide it: no kernel is above the memory's slope.
      `<text x="${round(start - 8)}" y="${
        level + 4
      }" text-anchor="end" font-size="12">${name} peak, ${top.toFixed(0)} TOP/s</text>`,
    );
  }
  return lines.join("");
}

/** Half the size of a number, in pixels. */
const LABEL = { x: 8, y: 7 };

/** Where the number of each dot goes: the nearest spot beside it that no number or other dot has. */
function placeLabels(dots: readonly XY[]): XY[] {
  const placed: XY[] = [];
  const isFree = ({ x, y }: XY) =>
    x > LEFT + LABEL.x && x < LEFT + PLOT - LABEL.x && y > TOP + LABEL.y &&
    y < TOP + HEIGHT - LABEL.y &&
    placed.every((other) =>
      Math.abs(other.x - x) >= 2 * LABEL.x || Math.abs(other.y - y) >= 2 * LABEL.y
    ) &&
    dots.every((other) =>
      Math.abs(other.x - x) >= LABEL.x + 4 || Math.abs(other.y - y) >= LABEL.y + 4
    );
  for (const place of dots) {
    const around = [14, 24, 36, 50, 66, 84, 104].flatMap((distance) =>
      Array.from({ length: 16 }, (_, turn) => ({
        x: place.x + distance * Math.cos(turn * Math.PI / 8),
        y: place.y + distance * Math.sin(turn * Math.PI / 8),
      }))
    );
    placed.push(around.find(isFree) ?? around[0]!);
  }
  return placed;
}

function dot(
  place: XY,
  label: XY,
  { color, number, title }: { color: string; number: number; title: string },
): string {
  const [x, y] = [round(place.x), round(place.y)];
  return `<g><title>${escape(title)}</title>` +
    `<path d="M${x} ${y}L${round(label.x)} ${
      round(label.y)
    }" stroke="${color}" stroke-width="0.8"/>` +
    `<circle cx="${x}" cy="${y}" r="4" fill="${color}" stroke="${GROUND}"/></g>` +
    marker(label, number, color);
}

/** A number in a disc. */
function marker(
  place: XY,
  number: number,
  color: string,
): string {
  return `<circle cx="${round(place.x)}" cy="${
    round(place.y)
  }" r="7" fill="${color}" stroke="${GROUND}"/>` +
    `<text x="${round(place.x)}" y="${
      round(place.y + 3.5)
    }" text-anchor="middle" font-size="9" fill="#ffffff">${number}</text>`;
}

/** Three digits, without an exponent. */
function digits(value: number): string {
  return String(Number(value.toPrecision(3)));
}
