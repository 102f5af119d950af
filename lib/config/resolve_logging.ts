/**
 * Completes what a run shows and records.
 *
 * @module
 */

import type { Resolver } from "./resolver.ts";
import type { LoggingConfig } from "./run_config.ts";
import type { RawRunConfig } from "./schema.ts";

/** The section `logging`; `folder` is the run's. */
export function resolveLogging(
  { logging }: RawRunConfig,
  run: { ternary: boolean; steps: number; folder: string; resolver: Resolver },
): LoggingConfig {
  const { ternary, steps, folder, resolver } = run;
  const ternaryEvery = resolver.pick(
    "logging.ternary_every",
    logging.ternary_every,
    ternary ? Math.max(100, Math.ceil(steps / 1000)) : 0,
    ternary ? "a thousandth of the steps, at least 100" : "the model isn't ternary",
  );
  resolver.require(ternary || ternaryEvery === 0, {
    key: "logging.ternary_every",
    expected: "0 where model.quantization is none",
    got: ternaryEvery,
  });
  return {
    everySteps: resolver.pick("logging.every_steps", logging.every_steps, 10),
    jsonl: resolver.pick(
      "logging.jsonl",
      logging.jsonl,
      `${folder}/metrics.jsonl`,
      "in the run's folder",
    ),
    prometheus: withHost(resolver.pick("logging.prometheus", logging.prometheus, null)),
    tensorboard: resolver.pick("logging.tensorboard", logging.tensorboard, null),
    machineEveryS: resolver.pick("logging.machine_every_s", logging.machine_every_s, 10),
    console: resolver.pick("logging.console", logging.console, "auto"),
    peakTflops: resolver.pick("logging.peak_tflops", logging.peak_tflops, null),
    ternaryEvery,
    flipRate: resolver.pick("logging.flip_rate", logging.flip_rate, false),
  };
}

/** A port alone is one of this machine, which no other machine reaches. */
function withHost(address: string | number | null): string | null {
  return address === null || String(address).includes(":")
    ? address as string | null
    : `127.0.0.1:${address}`;
}
