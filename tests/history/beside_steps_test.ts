/** What stands beside the steps in a run's history: the machine, the ternary weights, texts. */

import { assertAlmostEquals, assertEquals } from "@std/assert";
import { downsample } from "../../lib/history/downsample.ts";
import { RunHistory } from "../../lib/history/run_history.ts";
import { TERNARY_STATISTICS } from "../../lib/history/ternary_history.ts";
import type { MetricsRecord } from "../../lib/metrics/records.ts";
import {
  machineRecord,
  rollbackRecord,
  sampleRecord,
  stepRecord,
  ternaryRecord,
} from "./support.ts";

function historyOf(...records: readonly MetricsRecord[]): RunHistory {
  const history = new RunHistory();
  for (const record of records) history.take(record);
  return history;
}

const statistic = (field: string) => TERNARY_STATISTICS.find((one) => one.field === field)!;

Deno.test("RunHistory keeps every record of the machine, several of a step too", () => {
  const { machine } = historyOf(
    machineRecord(1, { gpu_power_w: 100 }),
    machineRecord(1, { gpu_power_w: 200 }),
    machineRecord(4, { gpu_power_w: null }),
  );
  const columns = downsample(machine, { from: 0, to: machine.length, points: 10 });
  assertEquals(columns.step, [1, 1, 4]);
  assertEquals(columns.gpu_power_w, [100, 200, null]);
});

Deno.test("RunHistory tells why clocks are low as ones and zeros, and nothing where nothing is known", () => {
  const { machine } = historyOf(
    machineRecord(1, { gpu_throttle_reasons: ["sw_power_cap"] }),
    machineRecord(2, { gpu_throttle_reasons: ["hw_thermal"] }),
    machineRecord(3, { gpu_throttle_reasons: null }),
    machineRecord(4),
  );
  const columns = downsample(machine, { from: 0, to: 4, points: 10 });
  assertEquals(columns["throttled.sw_power_cap"], [1, 0, null, 0]);
  assertEquals(columns["throttled.hw_thermal"], [null, 1, null, 0]);
});

Deno.test("downsample() keeps the extremes of steps that have several rows", () => {
  const { machine } = historyOf(
    ...Array.from({ length: 40 }, (_, index) => machineRecord(7, { gpu_power_w: index })),
  );
  const columns = downsample(machine, { from: 0, to: 40, points: 4 });
  assertEquals(columns.step, [7, 7, 7, 7]);
  assertEquals(columns.gpu_power_w, [0, 19, 20, 39]);
});

Deno.test("a rollback takes away the machine's records, ternary records and texts of undone steps", () => {
  const steps = Array.from({ length: 10 }, (_, index) => index + 1);
  const history = historyOf(
    ...steps.flatMap((step) => [
      ...[stepRecord(step), machineRecord(step), ternaryRecord(step), sampleRecord(step)],
    ]),
  );
  const before = history.generation;
  history.take(rollbackRecord(11, 6));
  assertEquals(history.machine.lastStep, 6);
  const { steps: left } = history.ternary.heatMap(statistic("zero"), { columns: 99 });
  assertEquals(left, [1, 2, 3, 4, 5, 6]);
  assertEquals(history.samples.at(-1)!.step, 6);
  assertEquals(history.generation > before, true);
});

Deno.test("steps that are taken again replace what stood beside them", () => {
  const history = historyOf(
    ...[stepRecord(1), machineRecord(1), sampleRecord(1), stepRecord(2)],
    ...[machineRecord(2), ternaryRecord(2), sampleRecord(2), stepRecord(2)],
  );
  assertEquals([history.machine.length, history.ternary.length, history.samples.length], [1, 0, 1]);
});

Deno.test("heatMap() has a column a record and a row a matrix, layer by layer", () => {
  const { ternary } = historyOf(ternaryRecord(100), ternaryRecord(200));
  const map = ternary.heatMap(statistic("zero"), { columns: 10 });
  assertEquals([map.layers, map.names.length, map.steps], [3, 7, [100, 200]]);
  assertEquals(map.values.length, 2 * 21);
  assertAlmostEquals(map.values[0]!, 0.31, 1e-6);
  assertAlmostEquals(map.values[21 + 2 * 7]!, 0.52, 1e-6);
  assertEquals(ternary.heatMap(statistic("flipped"), { columns: 10 }).values[0], null);
});

Deno.test("heatMap() joins records by their mean, gamma_max by the largest, and cuts to steps", () => {
  const { ternary } = historyOf(...[1, 2, 3, 4, 5].map((step) => ternaryRecord(100 * step)));
  const zeros = ternary.heatMap(statistic("zero"), { columns: 2 });
  assertEquals(zeros.steps, [200, 500]);
  assertAlmostEquals(zeros.values[0]!, 0.3 + 0.015, 1e-6);
  assertAlmostEquals(zeros.values[21]!, 0.3 + 0.04, 1e-6);
  const largest = ternary.heatMap(statistic("gamma_max"), { columns: 1 });
  assertEquals(largest.values.slice(0, 5), [505, 505, 505, 505, 506]);
  const part = ternary.heatMap(statistic("zero"), { columns: 9, from: 150, to: 400 });
  assertEquals(part.steps, [200, 300, 400]);
  const none = ternary.heatMap(statistic("zero"), { columns: 9, from: 501 });
  assertEquals([none.steps, none.values], [[], []]);
});

Deno.test("ternary records of another network begin anew", () => {
  const { ternary } = historyOf(ternaryRecord(100), ternaryRecord(200, { layers: 2 }));
  const map = ternary.heatMap(statistic("beta"), { columns: 9 });
  assertEquals([map.layers, map.steps, map.values.length], [2, [200], 14]);
});
