/**
 * Completes what a run shows and records.
 *
 * @module
 */

import type { Resolver } from "./resolver.ts";
import type { LoggingConfig, SamplesConfig } from "./run_config.ts";
import type { RawRunConfig } from "./schema.ts";

/** What the section depends on. */
interface LoggedRun {
  readonly ternary: boolean;
  readonly steps: number;
  readonly seqLen: number;
  readonly tokenizer: string | null;
  /** The run's. */
  readonly folder: string;
  readonly resolver: Resolver;
}

/** The section `logging`. */
export function resolveLogging(
  { logging }: RawRunConfig,
  run: LoggedRun,
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
    samples: resolveSamples(logging.samples, run),
  };
}

function resolveSamples(
  samples: RawRunConfig["logging"]["samples"],
  { steps, seqLen, tokenizer, resolver }: LoggedRun,
): SamplesConfig {
  const prompts = resolver.pick("logging.samples.prompts", samples.prompts, []);
  const everySteps = resolver.pick(
    "logging.samples.every_steps",
    samples.every_steps,
    prompts.length === 0 ? 0 : Math.max(1, Math.round(steps / 20)),
    prompts.length === 0 ? "there are no prompts" : "a twentieth of the steps",
  );
  resolver.require(everySteps === 0 || prompts.length > 0, {
    key: "logging.samples.prompts",
    expected: "a prompt or more where logging.samples.every_steps is above 0",
    got: prompts,
  });
  resolver.require(everySteps === 0 || tokenizer !== null, {
    key: "data.tokenizer",
    expected: "the tokenizer.json of the token files, as logging.samples has prompts to read",
    got: tokenizer,
  });
  const maxTokens = resolver.pick(
    "logging.samples.max_tokens",
    samples.max_tokens,
    Math.max(1, Math.min(64, Math.floor(seqLen / 2))),
    "64, at most half of training.seq_len",
  );
  resolver.require(everySteps === 0 || maxTokens < seqLen, {
    key: "logging.samples.max_tokens",
    expected: `less than training.seq_len (${seqLen}), as the prompt comes before`,
    got: maxTokens,
  });
  return {
    everySteps,
    prompts,
    maxTokens,
    temperature: resolver.pick("logging.samples.temperature", samples.temperature, 0),
    seed: resolver.pick("logging.samples.seed", samples.seed, 0),
  };
}

/** A port alone is one of this machine, which no other machine reaches. */
function withHost(address: string | null): string | null {
  return address === null || address.includes(":") ? address : `127.0.0.1:${address}`;
}
