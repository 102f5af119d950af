import { assertEquals } from "@std/assert";
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatPercent,
  formatRate,
  formatSi,
  formatTable,
} from "../../lib/cli/format.ts";

Deno.test("formatBytes() uses binary units and three digits", () => {
  assertEquals(
    [0, 1023, 1536, 1024 ** 2 * 999.6, 1024 ** 3 * 43.21].map(formatBytes),
    ["0 B", "1.00 KiB", "1.50 KiB", "0.98 GiB", "43.2 GiB"],
  );
});

Deno.test("formatCount() uses thousands to trillions and leaves small counts whole", () => {
  assertEquals(
    [0, 999, 1000, 999_700, 123_725_568, 1_298_946_048, 26e12].map(formatCount),
    ["0", "999", "1.00K", "1.00M", "124M", "1.30B", "26.0T"],
  );
});

Deno.test("formatSi() scales a quantity to its prefix", () => {
  assertEquals(formatSi(119.5e12, "FLOP/s"), "120 TFLOP/s");
});

Deno.test("formatRate() shows a dash when there is no rate", () => {
  assertEquals([formatRate(52_500), formatRate(Infinity)], ["52.5k tok/s", "- tok/s"]);
});

Deno.test("formatDuration() shows the two largest units and rounds into the next one", () => {
  assertEquals(
    [12.4, 999.6, 59_960, 185_000, 3_599_600, 7_800_000, 86_399_000, 363_600_000].map(
      formatDuration,
    ),
    ["12 ms", "1.0 s", "1m 00s", "3m 05s", "1h 00m", "2h 10m", "1d 00h", "4d 05h"],
  );
});

Deno.test("formatDuration() counts years from the first on", () => {
  const day = 86_400_000;
  assertEquals(
    [365 * day, 366 * day, 3633 * day, 3635 * day, 54_648 * day, 1e6 * day].map(formatDuration),
    ["365d 00h", "1.0 years", "9.9 years", "10 years", "150 years", "2,738 years"],
  );
});

Deno.test("formatPercent() keeps one decimal", () => {
  assertEquals(formatPercent(0.4404), "44.0%");
});

Deno.test("formatTable() aligns columns of numbers to the right and words to the left", () => {
  assertEquals(
    formatTable([["part", "count", "note"], ["embedding", "7", "a"], ["mlp", "123", "bb"]], {
      header: true,
    }),
    "part       count  note\n---------  -----  ----\nembedding      7  a\nmlp          123  bb",
  );
});
