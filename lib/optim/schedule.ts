/**
 * Learning rate and weight decay of each optimizer step.
 *
 * Pure functions of the step: nothing is carried from one step to the next, so a resumed run needs no state.
 * A `step` is the number of optimizer steps already taken, 0 for the first one.
 *
 * @module
 */

/** Shape of a schedule. @see {@linkcode ScheduleOptions.type} */
export type ScheduleType = "cosine" | "linear" | "wsd" | "bitnet";

/** Every shape, in the order the documentation lists them. */
export const SCHEDULE_TYPES: readonly ScheduleType[] = ["cosine", "linear", "wsd", "bitnet"];

/** Options of {@linkcode createSchedule}. */
export interface ScheduleOptions {
  /**
   * - `cosine`: half a cosine from the peak to the end
   * - `linear`: a straight line from the peak to the end
   * - `wsd`: warm-up, stable at the peak, then a straight line over the last `decayFraction`
   * - `bitnet`: two full-length straight lines with their own peaks; training follows the first until `switchAt`,
   *   then jumps down to the second, and weight decay is 0 from there
   */
  type: ScheduleType;
  /** Highest learning rate, reached by the last warm-up step. */
  lr: number;
  /** Optimizer steps of the whole run. */
  steps: number;
  /** Steps of linear warm-up, part of `steps`. */
  warmupSteps: number;
  /** Learning rate of the last step as a fraction of `lr`. */
  minLrRatio: number;
  /** Decoupled weight decay. */
  weightDecay: number;
  /** `wsd`: fraction of `steps` that decays. @default 0.2 */
  decayFraction?: number;
  /** `bitnet`: fraction of `steps` that follows the first line. @default 0.5 */
  switchAt?: number;
  /** `bitnet`: peak of the second line. @default 2/3 of lr */
  secondLr?: number;
}

/** What the optimizer asks at each step. */
export interface Schedule {
  /** Learning rate of the step after `step` finished ones. */
  lrAt(step: number): number;
  /** Decoupled weight decay of the step after `step` finished ones. */
  weightDecayAt(step: number): number;
}

/** Second peak of the BitNet recipe over its first: 1e-3 / 1.5e-3 and 8e-4 / 1.2e-3 in the authors' tables. */
export const BITNET_SECOND_LR_RATIO = 2 / 3;

/**
 * Builds a schedule.
 *
 * With `s = step + 1`, `W` warm-up steps and `N` steps in all, warm-up is `lr · s / W`, so that no step has a rate
 * of zero and step `W - 1` has the peak. After it, `p = (s - W) / (N - W)` runs from 0 to exactly 1 at the last
 * step, and the rate goes from the peak to `lr · minLrRatio`. Steps past the end keep the last step's values.
 *
 * The two lines of `bitnet` share the warm-up length and the end; the recipe has no second warm-up (Figure 1 of
 * "The Era of 1-bit LLMs: Training Tips, Code and FAQ").
 *
 * @throws {RangeError} On a count, rate or fraction outside its range, and where warm-up leaves no step.
 */
export function createSchedule(options: ScheduleOptions): Schedule {
  check(options);
  const { type, lr, steps, warmupSteps, minLrRatio, weightDecay } = options;
  const end = lr * minLrRatio;
  const span = steps - warmupSteps;

  function line(peak: number, step: number): number {
    const s = Math.min(step + 1, steps);
    if (s <= warmupSteps) return (peak * s) / warmupSteps;
    const p = (s - warmupSteps) / span;
    return peak * (1 - p) + end * p;
  }

  function cosine(step: number): number {
    const s = Math.min(step + 1, steps);
    if (s <= warmupSteps) return (lr * s) / warmupSteps;
    const p = (s - warmupSteps) / span;
    return end + (lr - end) * 0.5 * (1 + Math.cos(Math.PI * p));
  }

  const decaySteps = Math.max(1, Math.round(steps * (options.decayFraction ?? 0.2)));
  function wsd(step: number): number {
    const s = Math.min(step + 1, steps);
    if (s <= warmupSteps) return (lr * s) / warmupSteps;
    const p = Math.max(0, s - (steps - decaySteps)) / decaySteps;
    return lr * (1 - p) + end * p;
  }

  const switchStep = Math.round(steps * (options.switchAt ?? 0.5));
  const secondLr = options.secondLr ?? lr * BITNET_SECOND_LR_RATIO;
  const rates: Record<ScheduleType, (step: number) => number> = {
    cosine,
    linear: (step) => line(lr, step),
    wsd,
    bitnet: (step) => line(step < switchStep ? lr : secondLr, step),
  };
  const rate = rates[type];
  return {
    lrAt(step) {
      return rate(checkStep(step));
    },
    weightDecayAt(step) {
      return type === "bitnet" && checkStep(step) >= switchStep ? 0 : weightDecay;
    },
  };
}

function checkStep(step: number): number {
  if (!Number.isSafeInteger(step) || step < 0) {
    throw new RangeError(
      `Cannot read the schedule as a step is a whole number of at least 0: current value is ${step}`,
    );
  }
  return step;
}

function check(options: ScheduleOptions): void {
  const { steps, warmupSteps, decayFraction = 0.2, switchAt = 0.5 } = options;
  const rules: [name: keyof ScheduleOptions, fits: boolean, rule: string][] = [
    ["type", SCHEDULE_TYPES.includes(options.type), `one of ${SCHEDULE_TYPES.join(", ")}`],
    ["steps", Number.isSafeInteger(steps) && steps >= 1, "a whole number of at least 1"],
    [
      "warmupSteps",
      Number.isSafeInteger(warmupSteps) && warmupSteps >= 0 && warmupSteps <= steps,
      `a whole number from 0 to steps (${steps})`,
    ],
    ["lr", isFraction(options.lr, Infinity) && options.lr > 0, "above 0"],
    ["minLrRatio", isFraction(options.minLrRatio, 1), "from 0 to 1"],
    ["weightDecay", isFraction(options.weightDecay, Infinity), "at least 0"],
    ["decayFraction", isFraction(decayFraction, 1), "from 0 to 1"],
    ["switchAt", isFraction(switchAt, 1), "from 0 to 1"],
    [
      "secondLr",
      options.secondLr === undefined ||
      (isFraction(options.secondLr, Infinity) && options.secondLr > 0),
      "above 0",
    ],
  ];
  for (const [name, fits, rule] of rules) {
    if (!fits) {
      throw new RangeError(
        `Cannot build a schedule as ${name} must be ${rule}: current value is ${options[name]}`,
      );
    }
  }
  if (options.type === "wsd" && warmupSteps + Math.round(steps * decayFraction) > steps) {
    throw new RangeError(
      `Cannot build a schedule as warmupSteps and decayFraction must leave room for each other: current values are ` +
        `${warmupSteps} of ${steps} steps and ${decayFraction}`,
    );
  }
}

function isFraction(value: number, max: number): boolean {
  return typeof value === "number" && value >= 0 && value <= max && value !== Infinity;
}
