/**
 * How fast a run trains: time a step, tokens a second, and model FLOPs utilisation.
 *
 * @module
 */

import type { RunConfig } from "../config/run_config.ts";
import type { Device } from "../ffi/device.ts";
import { mfuBf16, mfuMixed } from "../metrics/mfu.ts";
import { findPeakOps, type PeakOps } from "../metrics/peak_ops.ts";
import { ThroughputMeter } from "../metrics/throughput.ts";
import { trainingFlopsPerToken } from "../model/flops.ts";
import type { SettledSteps } from "./step.ts";

/** The speed fields of a step's record. */
export interface Speed {
  readonly forward_ms: number | null;
  readonly backward_ms: number | null;
  readonly optimizer_ms: number | null;
  readonly data_ms: number | null;
  readonly step_ms: number;
  readonly tokens_per_s: number;
  readonly mfu_bf16: number | null;
  readonly mfu_mixed: number | null;
}

/** Measures a run on a device. */
export class Speedometer {
  readonly #meter = new ThroughputMeter();
  readonly #tokensPerStep: number;
  readonly #flops: { int8: number; bf16: number };
  readonly #peak: PeakOps | null;
  #last: SettledSteps | null = null;

  constructor(config: RunConfig, device: Device) {
    const { forward, backward } = trainingFlopsPerToken(config.model, config.training.seqLen);
    this.#tokensPerStep = config.training.tokensPerStep;
    this.#flops = {
      int8: forward.int8 + backward.int8,
      bf16: forward.bf16 + backward.bf16,
    };
    this.#peak = peakOf(config, device);
  }

  /** Notes optimizer steps that together took `ms`. */
  add(settled: SettledSteps, ms: number): void {
    const steps = settled.results.length;
    this.#meter.add({ steps, tokens: steps * this.#tokensPerStep, ms });
    this.#last = settled;
  }

  /** Means over the last steps; the phases are the last step's. */
  read(): Speed {
    const { tokensPerS, stepMs } = this.#meter;
    const run = { tokensPerS, peak: this.#peak };
    return {
      forward_ms: this.#last?.phases.forwardMs ?? null,
      backward_ms: this.#last?.phases.backwardMs ?? null,
      optimizer_ms: this.#last?.phases.optimizerMs ?? null,
      data_ms: this.#last?.dataMs ?? null,
      step_ms: stepMs,
      tokens_per_s: tokensPerS,
      mfu_bf16: mfuBf16(this.#flops, run),
      mfu_mixed: mfuMixed(this.#flops, run),
    };
  }
}

/** The user's figure, which says nothing of int8, else the table's. */
function peakOf(config: RunConfig, device: Device): PeakOps | null {
  const { peakTflops } = config.logging;
  if (peakTflops !== null) {
    return { card: "logging.peak_tflops", bf16: peakTflops * 1e12, int8: null, fp8: null };
  }
  return device.backend === "cuda" ? findPeakOps(device.description.name) : null;
}
