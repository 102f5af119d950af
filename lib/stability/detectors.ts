/**
 * What is wrong with a step's numbers. Values that aren't finite are judged first, on their own; a value never takes
 * part in its own judgement, and one that was found wrong never joins what judges the next.
 *
 * @module
 */

import { addToEma, type Ema, EMPTY_EMA } from "./ema.ts";
import type { NonFiniteAnswer, SpikeAnswer, StabilityConfig } from "./options.ts";
import { addToWindow, robustScore } from "./robust_window.ts";

/** What judges a step: the moving average, or the window of a robust score. */
export type Detector = "non_finite" | "loss_ema" | "loss_outlier" | "grad_norm_outlier";

/** What the detectors remember. */
export interface DetectorState {
  /** Of the loss. */
  readonly lossEma: Ema;
  /** Last losses; empty where `onLossOutlier` is off. */
  readonly losses: readonly number[];
  /** Last gradient norms; empty where `onGradNormOutlier` is off. */
  readonly gradNorms: readonly number[];
}

/** Detectors that have seen nothing. */
export const NO_MEMORY: DetectorState = { lossEma: EMPTY_EMA, losses: [], gradNorms: [] };

/** A step's numbers. */
export interface StepNumbers {
  /** Mean cross-entropy in nats a token. */
  readonly loss: number;
  /** Global gradient norm before clipping. */
  readonly gradNorm: number;
}

/** Something wrong with a step. */
export interface Finding {
  readonly detector: Detector;
  readonly answer: Exclude<SpikeAnswer, "off"> & NonFiniteAnswer;
  /** The loss or norm that was judged. */
  readonly value: number;
  /** Moving average or median that it was judged by; null for a value that isn't finite. */
  readonly reference: number | null;
  /** Value over the average, or robust deviations above the median; null for a value that isn't finite. */
  readonly score: number | null;
  /** Score above which it is a spike; null for a value that isn't finite. */
  readonly threshold: number | null;
}

/** Every fault that the configured detectors see, non-finite ones alone where there are any. */
export function findSpikes(
  state: DetectorState,
  step: StepNumbers,
  config: StabilityConfig,
): Finding[] {
  const { loss, gradNorm } = step;
  if (!Number.isFinite(loss) || !Number.isFinite(gradNorm)) {
    return [{
      detector: "non_finite",
      answer: config.onNonFinite,
      value: Number.isFinite(loss) ? gradNorm : loss,
      reference: null,
      score: null,
      threshold: null,
    }];
  }
  const found: Finding[] = [];
  const { lossEma } = state;
  if (config.onSpike !== "off" && lossEma.count >= Math.max(1, config.warmupSteps)) {
    const threshold = config.spikeThreshold;
    if (loss > threshold * lossEma.value) {
      found.push({
        detector: "loss_ema",
        answer: config.onSpike,
        value: loss,
        reference: lossEma.value,
        score: loss / lossEma.value,
        threshold,
      });
    }
  }
  const windows = [
    ["loss_outlier", config.onLossOutlier, state.losses, loss],
    ["grad_norm_outlier", config.onGradNormOutlier, state.gradNorms, gradNorm],
  ] as const;
  for (const [detector, answer, window, value] of windows) {
    if (answer === "off" || window.length < config.outlierWindow / 2) continue;
    const threshold = config.outlierThreshold;
    const { score, median } = robustScore(window, value);
    if (score > threshold) {
      found.push({ detector, answer, value, reference: median, score, threshold });
    }
  }
  return found;
}

/** What the detectors remember once a step has been found right. */
export function remember(
  state: DetectorState,
  step: StepNumbers,
  config: StabilityConfig,
): DetectorState {
  const { onLossOutlier, onGradNormOutlier, outlierWindow, emaDecay } = config;
  const { losses, gradNorms } = state;
  return {
    lossEma: addToEma(state.lossEma, step.loss, emaDecay),
    losses: onLossOutlier === "off" ? [] : addToWindow(losses, step.loss, outlierWindow),
    gradNorms: onGradNormOutlier === "off"
      ? []
      : addToWindow(gradNorms, step.gradNorm, outlierWindow),
  };
}

/** What they remember once values that a window called outliers are taken for the new level: it begins anew. */
export function forgetLevel(state: DetectorState, findings: readonly Finding[]): DetectorState {
  const of = (detector: Detector) => findings.some((finding) => finding.detector === detector);
  return {
    ...state,
    losses: of("loss_outlier") ? [] : state.losses,
    gradNorms: of("grad_norm_outlier") ? [] : state.gradNorms,
  };
}
