/**
 * Completes the `stability` section.
 *
 * @module
 */

import type { StabilityConfig } from "../stability/options.ts";
import type { Resolver } from "./resolver.ts";
import type { RawRunConfig } from "./schema.ts";

/** Values of the keys that were left open, of a run of `steps` optimizer steps. */
export function resolveStability(
  raw: RawRunConfig["stability"],
  steps: number,
  resolver: Resolver,
): StabilityConfig {
  function pick<Key extends keyof typeof raw>(
    key: Key,
    fallback: NonNullable<typeof raw[Key]>,
    reason?: string,
  ): NonNullable<typeof raw[Key]> {
    const given = raw[key] as NonNullable<typeof raw[Key]> | undefined;
    return resolver.pick(`stability.${key}`, given, fallback, reason);
  }

  const config: StabilityConfig = {
    onNonFinite: pick("on_non_finite", "skip"),
    onSpike: pick("on_spike", "rollback"),
    spikeThreshold: pick("spike_threshold", 5),
    emaDecay: pick("ema_decay", 0.99),
    warmupSteps: pick("warmup_steps", 100),
    onLossOutlier: pick("on_loss_outlier", "off"),
    onGradNormOutlier: pick("on_grad_norm_outlier", "off"),
    outlierThreshold: pick("outlier_threshold", 6),
    outlierWindow: pick("outlier_window", 128),
    maxConsecutiveSkips: pick("max_consecutive_skips", 5),
    snapshotEvery: pick("snapshot_every", 100),
    snapshots: pick("snapshots", 2),
    stableAfter: pick("stable_after", 50),
    skipExtraSteps: pick("skip_extra_steps", 0),
    lrFactor: pick("lr_factor", 0.5),
    minLrFactor: pick("min_lr_factor", 0.05),
    lrRampSteps: pick(
      "lr_ramp_steps",
      Math.min(500, Math.ceil(steps / 20)),
      "a twentieth of the steps, at most 500",
    ),
    maxRollbacks: pick("max_rollbacks", 5),
    rollbackWindow: pick("rollback_window", 1000),
  };
  resolver.require(config.minLrFactor <= config.lrFactor, {
    key: "stability.min_lr_factor",
    expected: `at most stability.lr_factor (${config.lrFactor})`,
    got: config.minLrFactor,
  });
  return config;
}
