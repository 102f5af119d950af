/**
 * Faults that are made on purpose, to see a run get over them.
 *
 * @module
 */

/** What goes wrong. */
export const FAULT_KINDS = [
  "loss",
  "inf_loss",
  "nan_gradient",
  "corrupt_batch",
  "stalled_read",
] as const;

/** A fault of some steps. */
export interface Fault {
  /**
   * `loss`: the loss that is read back is `factor` times the real one; `inf_loss`: it is infinite; `nan_gradient`: a
   * gradient is NaN before the update; `corrupt_batch`: the tokens are noise; `stalled_read`: reading each batch of
   * the step takes `ms` longer.
   */
  readonly kind: typeof FAULT_KINDS[number];
  /** Steps it strikes in, from 1. */
  readonly steps: readonly number[];
  /** `once`: when a step is taken for the first time; `always`: again when it is taken again. @default "once" */
  readonly repeat: "once" | "always";
  /** Times the loss, of `loss`. @default 10 */
  readonly factor: number;
  /** Milliseconds, of `stalled_read`. @default 1000 */
  readonly ms: number;
}

/** The faults that strike in a step; `furthest` is the highest step that was taken before. */
export function faultsAt(
  faults: readonly Fault[],
  step: number,
  furthest: number,
): readonly Fault[] {
  return faults.filter(({ steps, repeat }) =>
    steps.includes(step) && (repeat === "always" || step > furthest)
  );
}
