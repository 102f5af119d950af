/**
 * Model FLOPs utilisation, with its denominator in its name.
 *
 * @module
 */

import type { PeakOps } from "./peak_ops.ts";

/** FLOPs a token of a training step, by arithmetic. */
export interface MfuFlops {
  /** int8 products. */
  readonly int8: number;
  /** Floating-point products. */
  readonly bf16: number;
}

/**
 * All model FLOPs over the bfloat16 peak: comparable with bfloat16 training, and above 1 where int8 products pass
 * what bfloat16 could do. `null` where the card's peak isn't known.
 */
export function mfuBf16(
  flopsPerToken: MfuFlops,
  run: { tokensPerS: number; peak: PeakOps | null },
): number | null {
  if (run.peak === null) return null;
  return ((flopsPerToken.int8 + flopsPerToken.bf16) * run.tokensPerS) / run.peak.bf16;
}

/**
 * The time that int8 and bfloat16 products would take at their own peaks over the time that passed: at most 1.
 * `null` where either peak isn't known.
 */
export function mfuMixed(
  flopsPerToken: MfuFlops,
  run: { tokensPerS: number; peak: PeakOps | null },
): number | null {
  if (run.peak === null || (run.peak.int8 === null && flopsPerToken.int8 > 0)) return null;
  const int8 = flopsPerToken.int8 === 0 ? 0 : flopsPerToken.int8 / run.peak.int8!;
  return (int8 + flopsPerToken.bf16 / run.peak.bf16) * run.tokensPerS;
}
