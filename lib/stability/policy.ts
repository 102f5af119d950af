/**
 * What to do about each step of a run: numbers in, decisions out. It reads no clock and no file, so that a recorded trace of
 * losses tests it, and all it remembers is one {@linkcode StabilityState}.
 *
 * Results may come late, several steps at once, as long as they come in order: a rollback undoes every step after its
 * snapshot, those that were queued behind the spike among them, and nothing that is decided depends on how many those are.
 *
 * @module
 */

import type { StabilityEvent } from "../metrics/records.ts";
import { type Finding, findSpikes, forgetLevel, remember, type StepNumbers } from "./detectors.ts";
import type { StabilityConfig } from "./options.ts";
import { afterCalmStep, lowered, lrFactorOf } from "./recovery.ts";
import {
  candidates,
  countStep,
  type Snapshot,
  type SnapshotPoint,
  withDisk,
  withMemory,
} from "./snapshots.ts";
import { NEW_STABILITY_STATE, type SkippedData, type StabilityState } from "./state.ts";

/** Options of {@linkcode StabilityPolicy}. */
export interface StabilityOptions extends StabilityConfig {
  /** Windows of data of a step. */
  readonly windowsPerStep: number;
}

/** A step whose results are there. */
export interface JudgedStep extends StepNumbers {
  /** Number of the step, from 1. */
  readonly step: number;
  /** Windows of data taken since the run began, this step's and left out ones among them. */
  readonly window: number;
  /** Whether the weights have moved by it. A step that has can't be left out, only undone. */
  readonly applied: boolean;
}

/** `continue`: the step counts; `skip`: it is left out. */
export interface StepDecision {
  readonly action: "continue" | "skip";
  readonly events: readonly StabilityEvent[];
}

/** Back to a snapshot; `stop`: back to a snapshot and then the end of the run. */
export interface RollbackDecision {
  readonly action: "rollback" | "stop";
  readonly events: readonly StabilityEvent[];
  /** The step that was found wrong. */
  readonly step: number;
  /** Windows of data taken up to its end. */
  readonly window: number;
  /** What is wrong, as a clause. */
  readonly reason: string;
  /** Snapshots to go back to, the first choice first; none leaves no way but to stop. */
  readonly candidates: readonly Snapshot[];
}

/** What to do about a step. */
export type Decision = StepDecision | RollbackDecision;

const STRENGTH = { skip: 0, rollback: 1, stop: 2 } as const;
type Answer = keyof typeof STRENGTH;

/** Decides on every step of a run. */
export class StabilityPolicy {
  readonly #options: StabilityOptions;
  #state: StabilityState;

  /** `state`: a resumed run's. */
  constructor(options: StabilityOptions, state: StabilityState = NEW_STABILITY_STATE) {
    this.#options = options;
    this.#state = state;
  }

  /** Plain data; a fresh policy that is given it goes on as this one would. */
  get state(): StabilityState {
    return this.#state;
  }

  /** Learning rate over the schedule's for the step after the last judged one, or `ahead` steps later if those are calm. */
  lrFactor(ahead = 0): number {
    return lrFactorOf(this.#state.recovery, this.#options, ahead);
  }

  /** Judges the next step. After a rollback or a stop the results of later steps are void. */
  judge(step: JudgedStep): Decision {
    const findings = findSpikes(this.#state.detectors, step, this.#options);
    return findings.length === 0 ? this.#calm(step) : this.#spike(step, findings);
  }

  /** Whether a snapshot in memory is due after `step` steps. */
  wantsSnapshot(step: number): boolean {
    const { snapshotEvery } = this.#options;
    return snapshotEvery > 0 && step % snapshotEvery === 0 && this.#withMemory({
          step,
          tokens: 0,
          updates: 0,
          skipped: 0,
          window: 0,
        }) !== null;
  }

  /** Notes that a snapshot was taken where the run stands. */
  addSnapshot(point: SnapshotPoint): void {
    const snapshots = this.#withMemory(point);
    if (snapshots !== null) this.#state = { ...this.#state, snapshots };
  }

  /** The state that a checkpoint of where the run stands is saved with; {@linkcode adopt} it once that is on disk. */
  stateOfCheckpoint(point: SnapshotPoint): StabilityState {
    const { snapshots } = this.#state;
    return {
      ...this.#state,
      snapshots: withDisk(snapshots, this.#snapshot(point), this.#options),
    };
  }

  /** Goes on from a state. */
  adopt(state: StabilityState): void {
    this.#state = state;
  }

  /** Notes that the run went back to one of the candidates; its data goes on from `window`, past the spike. */
  rolledBack(
    decision: RollbackDecision,
    to: Snapshot,
  ): { window: number; events: readonly StabilityEvent[] } {
    const { lrFactor, skipExtraSteps, windowsPerStep, maxRollbacks } = this.#options;
    const before = this.#state;
    const window = decision.window + skipExtraSteps * windowsPerStep;
    const recovery = lowered(before.recovery, this.#options);
    const gaveUp = decision.action === "stop";
    const recent = this.#recentRollbacks(decision.step);
    // A person who resumes a run that was given up has seen to it.
    const rollbacks = gaveUp ? [] : [...recent, this.#taken(decision)];
    this.#state = {
      version: 1,
      detectors: to.detectors,
      consecutiveSkips: 0,
      snapshots: before.snapshots
        .filter(({ step }) => step <= to.step)
        .map((snapshot) =>
          snapshot.step === to.step
            ? { ...snapshot, window, returns: snapshot.returns + 1 }
            : snapshot
        ),
      recovery: lrFactor < 1 ? recovery : before.recovery,
      undone: before.undone + decision.step - to.step,
      furthest: Math.max(before.furthest, decision.step),
      rollbacks,
      rollbackCount: before.rollbackCount + 1,
      skippedData: withRange(before.skippedData, { from: to.window, to: window }),
    };
    return {
      window,
      events: [{
        event: "rollback",
        step: decision.step,
        to_step: to.step,
        place: to.disk ? "disk" : "memory",
        undone_steps: decision.step - to.step,
        window_from: to.window,
        window_to: window,
        lr_factor: this.lrFactor(),
        rollbacks: gaveUp ? recent.length : rollbacks.length,
        max_rollbacks: maxRollbacks,
      }],
    };
  }

  #calm(step: JudgedStep): StepDecision {
    const { detectors, snapshots, recovery } = this.#state;
    const after = recovery === null ? null : afterCalmStep(recovery, this.#options);
    this.#state = {
      ...this.#state,
      detectors: remember(detectors, step, this.#options),
      consecutiveSkips: 0,
      snapshots: countStep(snapshots, { calm: true, rules: this.#options }),
      recovery: after,
    };
    const recovered = recovery !== null && after === null;
    return {
      action: "continue",
      events: recovered
        ? [{ event: "recovered", step: step.step, calm_steps: recovery.calmSteps + 1 }]
        : [],
    };
  }

  #spike(step: JudgedStep, findings: readonly Finding[]): Decision {
    const { maxConsecutiveSkips, maxRollbacks, rollbackWindow } = this.#options;
    const worst = findings.reduce((a, b) => STRENGTH[b.answer] > STRENGTH[a.answer] ? b : a);
    const before = this.#state;
    const consecutiveSkips = before.consecutiveSkips + 1;
    let answer: Answer = worst.answer;
    if (answer === "skip" && consecutiveSkips > maxConsecutiveSkips) {
      const level = findings.every(({ detector }) => detector.endsWith("_outlier"));
      if (level) return this.#newLevel(step, findings);
      answer = "rollback";
    }
    if (answer === "skip" && step.applied) answer = "rollback";
    const recent = this.#recentRollbacks(step.step).length;
    const choices = candidates(before.snapshots, this.#options);
    let reason = describe(step, worst);
    if (answer === "rollback" && recent >= maxRollbacks) {
      answer = "stop";
      reason += ` after ${recent} rollback${
        recent === 1 ? "" : "s"
      } within ${rollbackWindow} steps`;
    }
    if (answer === "rollback" && choices.length === 0) {
      answer = "stop";
      reason += " with no snapshot to go back to";
    }
    const events: StabilityEvent[] = [{
      event: "spike",
      step: step.step,
      detector: worst.detector,
      answer,
      loss: step.loss,
      grad_norm: step.gradNorm,
      reference: worst.reference,
      score: worst.score,
      threshold: worst.threshold,
      consecutive_skips: answer === "skip" ? consecutiveSkips : before.consecutiveSkips,
    }];
    if (answer === "skip") {
      this.#state = {
        ...before,
        consecutiveSkips,
        snapshots: countStep(before.snapshots, { calm: false, rules: this.#options }),
      };
      return { action: "skip", events };
    }
    if (answer === "stop") {
      events.push({ event: "gave_up", step: step.step, reason, rollbacks: recent });
    }
    return {
      action: answer,
      events,
      step: step.step,
      window: step.window,
      reason,
      candidates: choices,
    };
  }

  /** Outliers that go on are what is normal now: the step counts, and the window begins anew with it. */
  #newLevel(step: JudgedStep, findings: readonly Finding[]): StepDecision {
    this.#state = { ...this.#state, detectors: forgetLevel(this.#state.detectors, findings) };
    const { events } = this.#calm(step);
    const levels = findings.map(({ detector, value, reference }): StabilityEvent => ({
      event: "new_level",
      step: step.step,
      detector,
      from: reference,
      to: value,
    }));
    return { action: "continue", events: [...levels, ...events] };
  }

  #snapshot(point: SnapshotPoint): Snapshot {
    const { step, tokens, updates, skipped, window } = point;
    return {
      step,
      tokens,
      updates,
      skipped,
      window,
      calm: 0,
      disk: false,
      returns: 0,
      detectors: this.#state.detectors,
    };
  }

  #withMemory(point: SnapshotPoint): Snapshot[] | null {
    return withMemory(this.#state.snapshots, this.#snapshot(point), this.#options);
  }

  /** Steps taken in all, up to and with this one. */
  #taken({ step }: { step: number }): number {
    return step + this.#state.undone;
  }

  #recentRollbacks(step: number): number[] {
    const oldest = this.#taken({ step }) - this.#options.rollbackWindow;
    return this.#state.rollbacks.filter((taken) => taken > oldest);
  }
}

function describe(step: JudgedStep, { detector, reference, score, threshold }: Finding): string {
  const numbers = `loss ${step.loss}, grad norm ${step.gradNorm}`;
  if (detector === "non_finite") return `${numbers}: not finite`;
  const by = detector === "loss_ema"
    ? `${score!.toFixed(2)} times the moving average ${reference!.toFixed(4)}`
    : `${score!.toFixed(1)} deviations above the median ${reference!.toFixed(4)}`;
  return `${numbers}: ${by}, above ${threshold}`;
}

/** Ranges with one more, which reaches furthest and takes in those that it covers or touches. */
function withRange(ranges: readonly SkippedData[], range: SkippedData): SkippedData[] {
  const apart = ranges.filter(({ to }) => to < range.from);
  const from = Math.min(range.from, ...ranges.slice(apart.length).map((other) => other.from));
  return [...apart, { from, to: range.to }];
}
