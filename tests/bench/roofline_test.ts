import { assert, assertEquals, assertThrows } from "@std/assert";
import { type KernelRow, kernelRow } from "../../lib/bench/kernel_row.ts";
import { rooflineSvg } from "../../lib/bench/roofline.ts";
import { findPeakOps } from "../../lib/metrics/peak_ops.ts";

const ROOFS = { memoryBytesPerS: 3e12, peak: findPeakOps("NVIDIA H100 80GB HBM3") };

function row(
  kernel: string,
  options: { operations: number; bytes: number; us: number },
): KernelRow {
  const { us, ...work } = options;
  return kernelRow(
    { shape: "1 x 2 x 3", kernel, arithmetic: "int8", max_error: 0, ...work },
    { us, us_q1: us, us_q3: us },
    { roofs: ROOFS, rivalUs: null },
  );
}

const ROWS = [
  row("ternary int8", { operations: 8e11, bytes: 4e8, us: 800 }),
  row("ternary 2-bit", { operations: 2e7, bytes: 2.5e6, us: 4 }),
  row('cuBLASLt <bf16> & "co"', { operations: 2e7, bytes: 2e7, us: 9 }),
  row("the same place", { operations: 2e7, bytes: 2e7, us: 9 }),
];

/** Every element closed in order, one root; the names of the elements. Throws where it is not well-formed. */
function elements(svg: string): string[] {
  const open: string[] = [], names: string[] = [];
  let end = 0;
  for (
    const match of svg.matchAll(/<(\/?)(\w+)((?:\s+[\w:-]+="[^"<&]*(?:&\w+;[^"<&]*)*")*)\s*(\/?)>/g)
  ) {
    const between = svg.slice(end, match.index);
    assert(!/[<>]/.test(between) && !/&(?!amp;|lt;|gt;|quot;)/.test(between), between);
    end = match.index + match[0].length;
    const [, closing, name, , empty] = match;
    if (closing) assertEquals(open.pop(), name);
    else {
      if (open.length === 0) assertEquals(names, []);
      names.push(name!);
      if (!empty) open.push(name!);
    }
  }
  assertEquals(svg.slice(end).trim(), "");
  assertEquals(open, []);
  return names;
}

Deno.test("rooflineSvg() is well-formed and needs nothing from elsewhere", () => {
  const svg = rooflineSvg({ title: "A <card> & more", roofs: ROOFS, rows: ROWS });
  assertEquals(elements(svg)[0], "svg");
  assert(!/NaN|Infinity|undefined|href|url\(|@import/.test(svg));
});

Deno.test("rooflineSvg() has a dot, a number and a line of text for every row", () => {
  const svg = rooflineSvg({ title: "t", roofs: ROOFS, rows: ROWS });
  assertEquals(svg.match(/<title>/g)?.length, ROWS.length);
  for (const [index, { top_per_s }] of ROWS.entries()) {
    assertEquals(
      svg.match(new RegExp(`>${index + 1}</text>`, "g"))?.length,
      2 + ticksOf(svg, index + 1),
    );
    assert(svg.includes(`${Number(top_per_s.toPrecision(3))} TOP/s</text>`));
  }
  assert(svg.includes("memory, 3000 GB/s copied") && svg.includes("int8 peak, 1979 TOP/s"));
});

/** Ticks of the axes that read as a number. */
function ticksOf(svg: string, value: number): number {
  const axes = svg.split("operations a byte")[0]!.split("<rect").at(-1)!;
  return axes.match(new RegExp(`>${value}</text>`, "g"))?.length ?? 0;
}

Deno.test("rooflineSvg() puts a dot on the memory's roof when it runs at the memory's rate", () => {
  const atRoof = [1e7, 1e9].map((operations) =>
    row("at the roof", { operations, bytes: 3e6, us: 1 })
  );
  const svg = rooflineSvg({ title: "t", roofs: ROOFS, rows: [...ROWS, ...atRoof] });
  const [x1, y1, x2, y2] =
    /<path d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)" fill="none" stroke="#24292f"/
      .exec(svg)!.slice(1).map(Number) as [number, number, number, number];
  const dots = [...svg.matchAll(/<title>at the roof.*?<circle cx="([\d.]+)" cy="([\d.]+)"/g)];
  assertEquals(dots.length, 2);
  for (const [, cx, cy] of dots) {
    const expected = y1 + (Number(cx) - x1) / (x2 - x1) * (y2 - y1);
    assert(Math.abs(Number(cy) - expected) < 0.3, `${cy} beside ${expected}`);
  }
});

Deno.test("rooflineSvg() draws the memory's roof alone when no peak is known", () => {
  const svg = rooflineSvg({ title: "t", roofs: { ...ROOFS, peak: null }, rows: ROWS });
  elements(svg);
  assert(svg.includes("GB/s copied") && !svg.includes("peak"));
});

Deno.test("rooflineSvg() throws when there are no rows", () => {
  assertThrows(() => rooflineSvg({ title: "t", roofs: ROOFS, rows: [] }), RangeError, "no rows");
});
