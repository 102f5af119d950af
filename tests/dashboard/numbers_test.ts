import { assertEquals } from "@std/assert";
import {
  formatBytes,
  formatNumber,
  formatPercent,
  formatTime,
  tickLabels,
} from "../../lib/dashboard/page/numbers.js";
import { amount, axis } from "../../lib/report/svg_parts.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;

Deno.test("tickLabels() tells ticks apart that lie close together", () => {
  assertEquals(tickLabels([72 * GIB, 72 * GIB + 8 * MIB, 72 * GIB + 16 * MIB], formatBytes), [
    ...["72 GiB", "72.0078 GiB", "72.0156 GiB"],
  ]);
  assertEquals(tickLabels([123_450, 123_500, 123_550], formatNumber), [
    ...["123.45k", "123.5k", "123.55k"],
  ]);
  assertEquals(tickLabels([0.99991, 0.99992], formatPercent), ["99.991%", "99.992%"]);
  assertEquals(tickLabels([30_000, 60_000, 90_000], formatTime), ["30 s", "1 min", "1.5 min"]);
  assertEquals(tickLabels([2.00001e-4, 2.00002e-4], formatNumber), ["2.00001e-4", "2.00002e-4"]);
  assertEquals(tickLabels([null, 0.001, null, 0.01], formatNumber), ["", "0.001", "", "0.01"]);
  assertEquals([tickLabels([], formatNumber), tickLabels([0], formatNumber)], [[], ["0"]]);
});

Deno.test("axes of the report have a label of its own for each tick, at its own place", () => {
  for (const [low, high] of [[1_234_567, 1_234_572], [72, 72.04], [12_340, 12_360], [0, 1]]) {
    const { ticks, at } = axis(low!, high!, 0, 800, false);
    const labels = tickLabels(ticks, amount);
    assertEquals(new Set(labels).size, ticks.length, labels.join(", "));
    assertEquals(ticks.every((tick) => at(tick) >= 0 && at(tick) <= 800), true);
  }
});
