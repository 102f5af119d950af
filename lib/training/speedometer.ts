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

/** The speed fields of a step's record. */
export interface Speed {
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

  constructor(config: RunConfig, device: Device) {
    const { forward, backward } = trainingFlopsPerToken(config.model, config.training.seqLen);
    this.#tokensPerStep = config.training.tokensPerStep;
    this.#flops = {
      int8: forward.int8 + backward.int8,
      bf16: forward.bf16 + backward.bf16,
    };
    this.#peak = device.backend === "cuda" ? findPeakOps(device.description.name) : null;
  }

  /** Notes an optimizer step that took `ms`. */
  add(ms: number): void {
    this.#meter.add({ tokens: this.#tokensPerStep, ms });
  }

  /** Means over the last steps. */
  read(): Speed {
    const { tokensPerS, stepMs } = this.#meter;
    const run = { tokensPerS, peak: this.#peak };
    return {
      step_ms: stepMs,
      tokens_per_s: tokensPerS,
      mfu_bf16: mfuBf16(this.#flops, run),
      mfu_mixed: mfuMixed(this.#flops, run),
    };
  }
}
