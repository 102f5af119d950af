/**
 * What a record costs the main thread in every sink together, and what reading the machine costs.
 *
 * ```sh
 * deno run -A tests/metrics/sinks_bench.ts
 * OTEL_DENO=true OTEL_METRIC_EXPORT_INTERVAL=1000 deno run -A tests/metrics/sinks_bench.ts
 * ```
 */

import { join } from "@std/path";
import { PrometheusText } from "../../lib/metrics/prometheus.ts";
import type { MetricsRecord } from "../../lib/metrics/records.ts";
import { hostFigures } from "../../lib/training/machine_watch.ts";
import { RunSinks } from "../../lib/training/run_sinks.ts";
import { tinyRun } from "../training/support.ts";
import { MACHINE, RUN, STEP } from "./support.ts";

const ROUNDS = 20_000;

/** Median and 99th percentile of the calls, ms. */
function measure(name: string, rounds: number, call: (round: number) => void): void {
  const times = new Float64Array(rounds);
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    call(round);
    times[round] = performance.now() - start;
  }
  times.sort();
  const at = (share: number) => times[Math.floor(share * (rounds - 1))]!.toFixed(4);
  const mean = times.reduce((sum, ms) => sum + ms, 0) / rounds;
  console.log(
    `${name.padEnd(34)} median ${at(0.5)}  mean ${mean.toFixed(4)}  p99 ${at(0.99)} ms`,
  );
}

await using run = await tinyRun();
const config = run.config(
  ...["logging.prometheus=0", `logging.tensorboard=${join(run.folder, "tb")}`],
);
using sinks = new RunSinks(config, {
  resumed: false,
  version: "0",
  observer: {
    warn(message) {
      throw new Error(message);
    },
  },
});
sinks.write(RUN);
const write = (record: MetricsRecord) => (step: number) => sinks.write({ ...record, step });
measure("a step's record, all sinks", ROUNDS, write(STEP));
measure("a record of the machine, all sinks", ROUNDS, write(MACHINE));
measure("reading memory and disk", 2000, () => hostFigures(run.folder));
const text = new PrometheusText("tiny");
for (const record of [RUN, STEP, MACHINE]) text.write(record);
measure("a scrape's text", 2000, () => text.toString());
