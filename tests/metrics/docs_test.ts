import { assertEquals } from "@std/assert";
import { prometheusName, PrometheusText } from "../../lib/metrics/prometheus.ts";
import { SERIES } from "../../lib/metrics/series.ts";
import { otlpName } from "../../lib/metrics/telemetry.ts";
import { CHECKPOINT, MACHINE, ROLLBACK, RUN, SAMPLE, STEP, VALIDATION } from "./support.ts";

const TEXT = await Deno.readTextFile(new URL("../../docs/metrics.md", import.meta.url));

/** The cells of a table's rows that begin with code, without its marks. */
function rowsUnder(heading: string): string[][] {
  const level = heading.split(" ")[0]!;
  const part = TEXT.split(`\n${heading}`)[1]?.split(new RegExp(`\n#{1,${level.length}} `))[0] ?? "";
  return part.split("\n").filter((line) => line.startsWith("| `"))
    .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim().replaceAll("`", "")));
}

Deno.test("docs/metrics.md names every series as Prometheus and OpenTelemetry see it", () => {
  assertEquals(
    rowsUnder("## Names outside the file"),
    SERIES.map((series) => [
      `${series.type}/${series.field}`,
      prometheusName(series),
      `${otlpName(series)}, ${series.unit.ucum}`,
    ]),
  );
});

for (const record of [RUN, STEP, VALIDATION, SAMPLE, CHECKPOINT, MACHINE]) {
  Deno.test(`docs/metrics.md has a row for each field of a ${record.type} record`, () => {
    const documented = rowsUnder(`### ${record.type}`).map(([field]) => field!);
    const common = record.type === "run" ? ["type"] : ["type", "step", "time"];
    assertEquals(
      documented.toSorted(),
      Object.keys(record).filter((field) => !common.includes(field)).toSorted(),
    );
  });
}

Deno.test("docs/metrics.md names what Prometheus has beside the series", () => {
  const text = new PrometheusText("tiny");
  for (const record of [RUN, ROLLBACK, MACHINE]) text.write(record);
  text.write({
    ...{ type: "stability", event: "spike", step: 1, detector: "non_finite", answer: "skip" },
    ...{ loss: NaN, grad_norm: NaN, reference: null, score: null, threshold: null },
    consecutive_skips: 1,
  });
  const series = new Set(SERIES.map(prometheusName));
  const others = [...text.toString().matchAll(/^# TYPE (\S+) (\S+)$/gm)]
    .map(([, name, type]) => `${name} ${type}`)
    .filter((line) => !series.has(line.split(" ")[0]!));
  const documented = rowsUnder("## Prometheus").map(([name, type]) => `${name} ${type}`);
  assertEquals(documented.toSorted(), others.toSorted());
});
