/** Ternary quantisation from arXiv:2402.17764, equations 1 to 3, with half to even. */

/** max(mean|w|, 1e-5) in FP64. */
export function scaleOf(w: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < w.length; i++) sum += Math.abs(w[i]!);
  return Math.max(sum / w.length, 1e-5);
}

/** clamp(round(w / scale), -1, 1) with the quotient in float32. */
export function ternaryOf(w: ArrayLike<number>, scale: number): Int8Array<ArrayBuffer> {
  return Int8Array.from(
    { length: w.length },
    (_, i) => Math.min(1, Math.max(-1, roundHalfToEven(Math.fround(w[i]! / scale)))),
  );
}

function roundHalfToEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 === 0 ? below : below + 1;
}
