import { assertAlmostEquals, assertEquals } from "@std/assert";
import { StepLineReader } from "../../lib/history/step_line.ts";
import { StepSeries } from "../../lib/history/step_series.ts";
import { stepRecord } from "./support.ts";

function read(text: string): { ok: boolean; row: Record<string, number> } {
  const series = new StepSeries();
  const reader = new StepLineReader(series);
  const bytes = new TextEncoder().encode(text);
  const ok = reader.isStep(bytes, 0, bytes.length) && reader.read(bytes, 0, bytes.length);
  const row = series.names.map((name, place) => [name, series.values[place]!] as const);
  return { ok, row: Object.fromEntries(row) };
}

Deno.test("StepLineReader reads whole numbers as they are and others to nine digits", () => {
  const values = [0, -0, 1, -1.5, 1e-7, 2e-5, 123456789012, 0.1, 10.561392784118652, 1e21, 5e-324];
  values.push(1.7976931348623157e308, 255113.5804599129, 0.00002, 8_999_999_999_999_999, -1e-300);
  for (const loss of values) {
    const { ok, row } = read(JSON.stringify(stepRecord(3, { loss })));
    assertEquals(ok, true);
    assertEquals(row.step, 3);
    const whole = Number.isSafeInteger(loss);
    assertAlmostEquals(row.loss!, loss, whole ? 0 : Math.abs(loss) * 1.1e-8);
  }
});

Deno.test("StepLineReader reads any number within single precision of what JSON.parse reads", () => {
  for (let trial = 0; trial < 20_000; trial++) {
    const loss = (Math.random() - 0.5) * 10 ** Math.round(60 * Math.random() - 30);
    const { row } = read(`{"type":"step","step":${trial},"loss":${JSON.stringify(loss)}}`);
    assertEquals(row.step, trial);
    assertAlmostEquals(row.loss!, loss, Math.abs(loss) * 1.1e-8);
  }
});

Deno.test("StepLineReader tells names apart that begin and end alike, whatever their order", () => {
  const series = new StepSeries();
  const reader = new StepLineReader(series);
  const lines = [
    '{"type":"step","step":1,"aXXa":1,"aYYa":2,"b":3,"bbbbbbb":4}',
    '{"type":"step","step":2,"aYYa":5,"aXXa":6,"bbbbbbb":7,"b":8}',
    '{"type":"step","step":3,"aXYa":9}',
  ].map((line) => new TextEncoder().encode(line));
  for (const line of lines) {
    assertEquals(reader.read(line, 0, line.length), true);
    series.append();
  }
  const columns = series.names.map((name) => [name, [...series.get(name)!]]);
  assertEquals(Object.fromEntries(columns), {
    step: [1, 2, 3],
    aXXa: [1, 6, NaN],
    aYYa: [2, 5, NaN],
    b: [3, 8, NaN],
    bbbbbbb: [4, 7, NaN],
    aXYa: [NaN, NaN, 9],
  });
});

Deno.test("StepLineReader gives NaN for null", () => {
  const { ok, row } = read(JSON.stringify(stepRecord(3)));
  assertEquals([ok, row.mfu_mixed, row.skipped], [true, NaN, 0]);
});

Deno.test("StepLineReader refuses lines that are torn or hold more than numbers", () => {
  const whole = JSON.stringify(stepRecord(3));
  for (let length = 0; length < whole.length; length++) {
    assertEquals(read(whole.slice(0, length)).ok, false, whole.slice(0, length));
  }
  for (
    const text of [
      '{"type":"step","step":3,"note":"x"}',
      '{"type":"step","step":3,"gpu":{"power_w":3}}',
      '{"type":"step","step":3}}',
      '{"type":"step","step":3,"loss":-}',
      '{"type":"run","step":3}',
    ]
  ) assertEquals(read(text).ok, false, text);
});
