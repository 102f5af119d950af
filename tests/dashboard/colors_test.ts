/** Colours of runs: told apart by whoever sees them. */

import { assert, assertEquals } from "@std/assert";
import { COLORS } from "../../lib/report/svg_parts.ts";

type Rgb = readonly [number, number, number];

/** What is seen without one kind of cones (Machado, Oliveira and Fernandes 2009, severity 1), of linear RGB. */
const VISIONS: Record<string, readonly Rgb[]> = {
  normal: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  protanopia: [
    ...[[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216]] as const,
    [-0.003882, -0.048116, 1.051998],
  ],
  deuteranopia: [
    ...[[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413]] as const,
    [-0.01182, 0.04294, 0.968881],
  ],
  tritanopia: [
    ...[[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602]] as const,
    [0.004733, 0.691367, 0.3039],
  ],
};

const css = Deno.readTextFileSync(
  new URL("../../lib/dashboard/page/style.css", import.meta.url),
);
/** The values of a name in the light scheme and in the dark one. */
const both = (name: string) =>
  [...css.matchAll(new RegExp(`--${name}: (#\\w{6});`, "g"))].map(([, color]) => color!);

const dot = (row: readonly number[], column: readonly number[]) =>
  row.reduce((sum, value, index) => sum + value * column[index]!, 0);

function linear(hex: string): number[] {
  return [1, 3, 5].map((at) => {
    const value = parseInt(hex.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
}

/** A colour's place in Oklab, where distances are as they are seen. */
function oklab(rgb: readonly number[]): number[] {
  const cones = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
  ].map((row) => Math.cbrt(dot(row, rgb)));
  return [
    [0.2104542553, 0.793617785, -0.0040720468],
    [1.9779984951, -2.428592205, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.808675766],
  ].map((row) => dot(row, cones));
}

const luminance = (hex: string) => dot([0.2126, 0.7152, 0.0722], linear(hex));

Deno.test("twelve runs have colours that are told apart in both schemes, colour-blind too", () => {
  for (const [scheme, card] of both("card").entries()) {
    const colors = Array.from({ length: 12 }, (_, run) => both(`run-${run}`)[scheme]!);
    for (const color of colors) {
      const [low, high] = [luminance(color), luminance(card)].toSorted((a, b) => a - b);
      const contrast = (high! + 0.05) / (low! + 0.05);
      assert(contrast >= 3, `${color} on ${card}: a contrast of ${contrast}`);
    }
    for (const [vision, rows] of Object.entries(VISIONS)) {
      const seen = colors.map((color) =>
        oklab(rows.map((row) => Math.min(1, Math.max(0, dot(row, linear(color))))))
      );
      const least = vision === "normal" ? 0.14 : 0.085;
      seen.forEach((a, i) =>
        seen.slice(0, i).forEach((b, j) => {
          const distance = Math.hypot(...a.map((value, axis) => value - b[axis]!));
          assert(distance > least, `${colors[i]} and ${colors[j]} by ${vision}: ${distance}`);
        })
      );
    }
  }
});

Deno.test("the report has the page's colours", () => {
  assertEquals(COLORS, Array.from({ length: 12 }, (_, run) => both(`run-${run}`)[0]));
});
