/**
 * Carries out what stability decides: snapshots, rollbacks, faults made on purpose.
 *
 * @module
 */

import { CheckpointError } from "../checkpoint/errors.ts";
import type { RunConfig } from "../config/run_config.ts";
import { DivergedError } from "../stability/diverged_error.ts";
import { type Fault, faultsAt } from "../stability/faults.ts";
import { judgesBeforeUpdate } from "../stability/options.ts";
import {
  type Decision,
  type JudgedStep,
  type RollbackDecision,
  StabilityPolicy,
} from "../stability/policy.ts";
import type { Snapshot, SnapshotPoint } from "../stability/snapshots.ts";
import type { StabilityState } from "../stability/state.ts";
import { hostMemory } from "./host_memory.ts";
import type { RunCheckpoints } from "./run_checkpoints.ts";
import { type CopiedTensor, SnapshotRing, whyNotInMemory } from "./snapshot_ring.ts";
import { StepFaults } from "./step_faults.ts";
import type { TrainingObserver } from "./observer.ts";

/** The weights and moments that steps change. */
export interface GuardedTensors {
  readonly parameters: CopiedTensor[];
  readonly optimizer: CopiedTensor[];
}

/** What a guard is made of. */
export interface GuardParts {
  readonly config: RunConfig;
  readonly tensors: GuardedTensors;
  readonly checkpoints: RunCheckpoints;
  readonly observer: TrainingObserver;
  readonly state: StabilityState;
  readonly faults: readonly Fault[];
}

/** A run that went back. */
export interface WentBack {
  readonly to: Snapshot;
  /** Windows of data taken since the run began, where it goes on. */
  readonly window: number;
}

/** Watches over a run. */
export class StabilityGuard {
  /** Whether steps must be judged before their update, each on its own. */
  readonly judgesBeforeUpdate: boolean;
  readonly #policy: StabilityPolicy;
  readonly #ring: SnapshotRing;
  readonly #tensors: GuardedTensors;
  readonly #checkpoints: RunCheckpoints;
  readonly #observer: TrainingObserver;
  readonly #faults: readonly Fault[];
  readonly #vocabSize: number;

  constructor({ config, tensors, checkpoints, observer, state, faults }: GuardParts) {
    const { stability, training, model } = config;
    this.judgesBeforeUpdate = judgesBeforeUpdate(stability);
    this.#tensors = tensors;
    this.#checkpoints = checkpoints;
    this.#observer = observer;
    this.#faults = faults;
    this.#vocabSize = model.vocabSize;
    const all = [...tensors.parameters, ...tensors.optimizer];
    const wanted = stability.snapshotEvery === 0 ? 0 : stability.snapshots;
    const ring = new SnapshotRing(all, { capacity: wanted });
    const refusal = whyNotInMemory(ring, hostMemory()?.available ?? null);
    if (refusal !== null) observer.warn(refusal);
    this.#ring = refusal === null ? ring : new SnapshotRing(all, { capacity: 0 });
    const snapshotEvery = this.#ring.capacity === 0 ? 0 : stability.snapshotEvery;
    this.#policy = new StabilityPolicy(
      { ...stability, snapshotEvery, windowsPerStep: training.batchSequences },
      state,
    );
  }

  /** What it remembers. */
  get state(): StabilityState {
    return this.#policy.state;
  }

  /** Bytes of host memory that snapshots may take. */
  get snapshotBytes(): number {
    return this.#ring.bytes;
  }

  /** Learning rate over the schedule's for the step after the last judged one, or `ahead` steps later. */
  lrFactor(ahead: number): number {
    return this.#policy.lrFactor(ahead);
  }

  /** Faults to be made in a step; null for none. */
  faultsAt(step: number): StepFaults | null {
    const faults = faultsAt(this.#faults, step, this.state.furthest);
    return faults.length === 0
      ? null
      : new StepFaults(faults, { step, vocabSize: this.#vocabSize });
  }

  /** Judges the next step and records what was decided. */
  judge(step: JudgedStep): Decision {
    const decision = this.#policy.judge(step);
    for (const event of decision.events) this.#observer.record({ type: "stability", ...event });
    return decision;
  }

  /** Takes the snapshot that a run begins or goes on with. */
  begin(point: SnapshotPoint): void {
    if (this.#ring.capacity === 0) return;
    this.#policy.addSnapshot(point);
    this.#ring.take(point.step);
  }

  /** Takes a snapshot where one is due; every step up to it must have been judged. */
  snapshotIfDue(point: SnapshotPoint): void {
    if (!this.#policy.wantsSnapshot(point.step)) return;
    this.#policy.addSnapshot(point);
    this.#ring.retain(this.#steps());
    this.#ring.take(point.step);
  }

  /** The state to save in a checkpoint of where the run stands. */
  stateOfCheckpoint(point: SnapshotPoint): StabilityState {
    return this.#policy.stateOfCheckpoint(point);
  }

  /** Notes that a checkpoint with such a state is on disk. */
  savedCheckpoint(state: StabilityState, step: number): void {
    this.#policy.adopt(state);
    this.#ring.unpin(step);
    this.#ring.retain(this.#steps());
  }

  /**
   * Notes that a checkpoint with such a state could not be written. A copy in memory stands for it, so that what is decided
   * later is what it would have been; where there is no memory for one, the snapshots from before stay.
   *
   * @returns Whether a copy stands for it.
   */
  missedCheckpoint(state: StabilityState, step: number): boolean {
    if (!this.#ring.pin(step, hostMemory()?.available ?? null)) {
      this.#observer.warn(
        `There is no host memory for a copy in the place of the checkpoint of step ${step}: a rollback before the next one ` +
          "may go further back than it would have",
      );
      return false;
    }
    this.#policy.adopt(state);
    this.#ring.retain(this.#steps());
    return true;
  }

  /** Brings back the first of the decision's snapshots that can be; null where none can. */
  async goBack(decision: RollbackDecision): Promise<WentBack | null> {
    for (const to of decision.candidates) {
      if (!await this.#restore(to)) continue;
      const { window, events } = this.#policy.rolledBack(decision, to);
      this.#ring.retain(this.#steps());
      for (const event of events) this.#observer.record({ type: "stability", ...event });
      return { to, window };
    }
    return null;
  }

  async #restore({ step, disk }: Snapshot): Promise<boolean> {
    if (this.#ring.has(step)) {
      this.#ring.restore(step);
      return true;
    }
    if (!disk) return false;
    try {
      const checkpoint = await this.#checkpoints.open(step);
      await checkpoint.restore(this.#tensors);
      return true;
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw error;
      this.#observer.warn(`${error.message}; an older snapshot is tried`);
      return false;
    }
  }

  #steps(): number[] {
    return this.state.snapshots.map(({ step }) => step);
  }
}

/** The error of a run that is given up: where it stands, and what can be done. */
export function gaveUp(
  { step, reason }: RollbackDecision,
  back: { to: number | null; saved: string | null },
): DivergedError {
  const stands = back.to === null
    ? "nothing could be brought back or saved"
    : `the run is back at step ${back.to}, ${back.saved ?? "which could not be saved"}`;
  return new DivergedError(
    `Cannot go on at step ${step} as its numbers must be sound: current value is ${reason}; ${stands}; ` +
      "lower optimizer.lr or look at the data, then go on with --resume latest",
    step,
  );
}
