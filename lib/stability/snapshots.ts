/**
 * Which snapshots of a run there are, which of them is one to go back to, and which may go.
 *
 * @module
 */

import type { DetectorState } from "./detectors.ts";

/** Where a run stood when a snapshot was taken. */
export interface SnapshotPoint {
  /** Optimizer steps taken. */
  readonly step: number;
  readonly tokens: number;
  /** Updates of the weights. */
  readonly updates: number;
  /** Steps that were left out. */
  readonly skipped: number;
  /** Windows of data taken since the run began, left out ones among them. */
  readonly window: number;
}

/** A snapshot of weights, moments and counters, by what is known of it. */
export interface Snapshot extends SnapshotPoint {
  /** Calm steps in a row after it, counted up to what makes it stable. */
  readonly calm: number;
  /** Whether it is a checkpoint; the others are in host memory alone and end with the process. */
  readonly disk: boolean;
  /** Rollbacks to it. */
  readonly returns: number;
  /** What the detectors remembered. */
  readonly detectors: DetectorState;
}

/** Rollbacks to one snapshot after which an older one is preferred. */
const MAX_RETURNS = 2;

/** What makes a snapshot stable, and how many are kept in memory, and as many on disk. */
export interface SnapshotRules {
  readonly stableAfter: number;
  readonly snapshots: number;
}

/** Whether a snapshot has had its calm steps. */
function isStable(snapshot: Snapshot, rules: SnapshotRules): boolean {
  return snapshot.calm >= rules.stableAfter;
}

/** Snapshots after one more step: calm ones count, another kind makes those that aren't stable begin anew. */
export function countStep(
  snapshots: readonly Snapshot[],
  options: { calm: boolean; rules: SnapshotRules },
): Snapshot[] {
  const { calm, rules } = options;
  return snapshots.map((snapshot) =>
    isStable(snapshot, rules) ? snapshot : { ...snapshot, calm: calm ? snapshot.calm + 1 : 0 }
  );
}

/**
 * Snapshots with one more in memory, at the end. The oldest one in memory goes where there is no room for both, but only once
 * a newer one is stable; `null` where it can't, or the step has its snapshot already.
 */
export function withMemory(
  snapshots: readonly Snapshot[],
  snapshot: Snapshot,
  rules: SnapshotRules,
): Snapshot[] | null {
  if (snapshots.some(({ step }) => step === snapshot.step)) return null;
  const inMemory = snapshots.filter(({ disk }) => !disk);
  if (inMemory.length < rules.snapshots) return [...snapshots, snapshot];
  const [oldest, ...newer] = inMemory;
  if (!newer.some((other) => isStable(other, rules))) return null;
  return [...snapshots.filter((other) => other !== oldest), snapshot];
}

/**
 * Snapshots once one is a checkpoint. Those before it that are in memory alone go: a run that is killed and resumed here would not have them, and
 * must decide as one that was not. Older checkpoints stay until a newer one is stable, or there are too many.
 */
export function withDisk(
  snapshots: readonly Snapshot[],
  snapshot: Snapshot,
  rules: SnapshotRules,
): Snapshot[] {
  const known = snapshots.find(({ step }) => step === snapshot.step) ?? snapshot;
  const disk = snapshots.filter((other) => other.disk && other.step < snapshot.step);
  disk.push({ ...known, disk: true });
  while (disk.length > rules.snapshots) {
    const [, ...newer] = disk;
    // The oldest is the only one to rely on while none that came after it is stable.
    disk.splice(newer.some((other) => isStable(other, rules)) ? 0 : 1, 1);
  }
  return disk;
}

/**
 * Snapshots to go back to, the first choice first: the newest that is stable and has not failed twice, then older ones, then
 * those that aren't stable from the oldest on.
 */
export function candidates(snapshots: readonly Snapshot[], rules: SnapshotRules): Snapshot[] {
  const trusted = snapshots.filter((snapshot) =>
    isStable(snapshot, rules) && snapshot.returns < MAX_RETURNS
  );
  return [...trusted.toReversed(), ...snapshots.filter((snapshot) => !trusted.includes(snapshot))];
}
