/**
 * What a run does when its numbers go wrong: the `stability` section of a config.
 *
 * @module
 */

/** What a loss or a gradient norm that isn't finite brings about. */
export const NON_FINITE_ANSWERS = ["skip", "rollback", "stop"] as const;

/** What a detector of finite spikes brings about. */
export const SPIKE_ANSWERS = ["off", "skip", "rollback", "stop"] as const;

/** @see NON_FINITE_ANSWERS */
export type NonFiniteAnswer = typeof NON_FINITE_ANSWERS[number];
/** @see SPIKE_ANSWERS */
export type SpikeAnswer = typeof SPIKE_ANSWERS[number];

/** What happens when numbers go wrong. Steps are optimizer steps. */
export interface StabilityConfig {
  /** A loss or norm that isn't finite: `skip` leaves the step out. @default "skip" */
  readonly onNonFinite: NonFiniteAnswer;
  /** A loss above `spikeThreshold` times its moving average. @default "rollback" */
  readonly onSpike: SpikeAnswer;
  /** Times the moving average. @default 5 */
  readonly spikeThreshold: number;
  /** Share of the moving average that stays with each step. @default 0.99 */
  readonly emaDecay: number;
  /** Losses that the moving average has seen before it judges one. @default 100 */
  readonly warmupSteps: number;
  /** A loss above the median of the window by `outlierThreshold` robust deviations. @default "off" */
  readonly onLossOutlier: SpikeAnswer;
  /** The same for the gradient norm before clipping. @default "off" */
  readonly onGradNormOutlier: SpikeAnswer;
  /** Robust standard deviations (1.4826 median absolute deviations). @default 6 */
  readonly outlierThreshold: number;
  /** Steps of the window; it judges once half of it is there. @default 128 */
  readonly outlierWindow: number;
  /** Steps in a row that may be left out; one more leads to a rollback. @default 5 */
  readonly maxConsecutiveSkips: number;
  /** Steps between snapshots in host memory, 0 for none. @default 100 */
  readonly snapshotEvery: number;
  /** Snapshots that host memory holds at once, at least 2. @default 2 */
  readonly snapshots: number;
  /** Calm steps after a snapshot that make it one to go back to. @default 50 */
  readonly stableAfter: number;
  /** Steps' worth of data that is left out after the spike's own. @default 0 */
  readonly skipExtraSteps: number;
  /** Learning rate after a rollback over that before. @default 0.5 */
  readonly lrFactor: number;
  /** Lowest product of such factors. @default 0.05 */
  readonly minLrFactor: number;
  /** Calm steps in which the rate goes back up to the schedule's, 0 for never. @default a twentieth of the steps, at most 500 */
  readonly lrRampSteps: number;
  /** Rollbacks within `rollbackWindow` that are carried out; one more ends the run. @default 5 */
  readonly maxRollbacks: number;
  /** Steps taken, undone ones among them. @default 1000 */
  readonly rollbackWindow: number;
}

/**
 * Whether a run must look at each step's loss and norm before its weights move: a finite step can't be left out once
 * it has been queued.
 */
export function judgesBeforeUpdate(
  config: Pick<StabilityConfig, "onSpike" | "onLossOutlier" | "onGradNormOutlier">,
): boolean {
  const { onSpike, onLossOutlier, onGradNormOutlier } = config;
  return [onSpike, onLossOutlier, onGradNormOutlier].includes("skip");
}
