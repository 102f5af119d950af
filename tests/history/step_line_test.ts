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

Deno.test("StepLineReader reads the numbers that JSON.parse reads, but for the last bits", () => {
  const values = [0, -0, 1, -1.5, 1e-7, 2e-5, 123456789012, 0.1, 10.561392784118652, 1e21, 5e-324];
  values.push(1.7976931348623157e308, 255113.5804599129, 0.00002, Number.MAX_SAFE_INTEGER, -1e-300);
  for (const loss of values) {
    const { ok, row } = read(JSON.stringify(stepRecord(3, { loss })));
    assertEquals(ok, true);
    assertEquals(row.step, 3);
    assertAlmostEquals(row.loss!, loss, Math.abs(loss) * 1e-15);
  }
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
