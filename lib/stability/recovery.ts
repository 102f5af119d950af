/**
 * The learning rate after a rollback.
 *
 * @module
 */

import type { StabilityConfig } from "./options.ts";

/** A rate that is lowered, and maybe on its way back. */
export interface Recovery {
  /** Rate over the schedule's at the rollback, above 0 and up to 1. */
  readonly factor: number;
  /** Calm steps since. */
  readonly calmSteps: number;
}

/** Rate over the schedule's, `ahead` steps after those that are known to be calm, all of them taken to be. */
export function lrFactorOf(
  recovery: Recovery | null,
  config: Pick<StabilityConfig, "lrRampSteps">,
  ahead = 0,
): number {
  if (recovery === null) return 1;
  const { factor, calmSteps } = recovery;
  if (config.lrRampSteps === 0) return factor;
  return factor + (1 - factor) * Math.min(1, (calmSteps + ahead) / config.lrRampSteps);
}

/** The recovery that a rollback begins: what the rate was, lowered once more, down to the floor. */
export function lowered(
  recovery: Recovery | null,
  config: Pick<StabilityConfig, "lrRampSteps" | "lrFactor" | "minLrFactor">,
): Recovery {
  const factor = Math.max(config.minLrFactor, config.lrFactor * lrFactorOf(recovery, config));
  return { factor, calmSteps: 0 };
}

/** The recovery after a calm step; null once the rate is the schedule's again. */
export function afterCalmStep(
  recovery: Recovery,
  config: Pick<StabilityConfig, "lrRampSteps">,
): Recovery | null {
  const calmSteps = recovery.calmSteps + 1;
  return config.lrRampSteps > 0 && calmSteps >= config.lrRampSteps
    ? null
    : { factor: recovery.factor, calmSteps };
}
