/** Counts over ternary matrices and quantised inputs, by their definitions. */

/** [minus, zero, plus, flipped, near], the bounds of "near" in float32. */
export function ternaryCounts(
  given: {
    w: ArrayLike<number>;
    q: ArrayLike<number>;
    previous: ArrayLike<number> | null;
    scale: number;
    margin: number;
  },
): number[] {
  const { w, q, previous, scale, margin } = given;
  const bound = (sign: 1 | -1) =>
    Math.fround(Math.fround(0.5 + sign * Math.fround(margin)) * scale);
  const counts = [0, 0, 0, 0, 0];
  for (let i = 0; i < q.length; i++) {
    counts[q[i]! + 1]!++;
    if (previous !== null && q[i] !== previous[i]) counts[3]!++;
    const size = Math.abs(w[i]!);
    if (bound(-1) <= size && size <= bound(1)) counts[4]!++;
  }
  return counts;
}

/** [zeros, values outside of low + 1 .. high - 1]. */
export function quantizedCounts(q: ArrayLike<number>, low: number, high: number): number[] {
  const counts = [0, 0];
  for (let i = 0; i < q.length; i++) {
    if (q[i] === 0) counts[0]!++;
    if (q[i]! <= low || q[i]! >= high) counts[1]!++;
  }
  return counts;
}

/** [mean in double, maximum of what is no NaN, at least 0]. */
export function scaleStatistics(scale: ArrayLike<number>): [mean: number, largest: number] {
  let sum = 0, largest = 0;
  for (let i = 0; i < scale.length; i++) {
    sum += scale[i]!;
    if (scale[i]! > largest) largest = scale[i]!;
  }
  return [sum / scale.length, largest];
}
