/** Cross-entropy against a mix of targets and its gradient, from the definition. */

import type { Numbers } from "../../support/compare.ts";

export interface Mixed {
  logits: Numbers; // (N, V)
  targets: ArrayLike<number>; // (N)
  teacher: Numbers | null; // (N, V)
  smoothing: number;
  teacherWeight: number;
  V: number;
}

/** Loss of each row in nats, 0 for ignored ones, and the gradient of gradScale times their sum. */
export function crossEntropy(
  { logits, targets, teacher, smoothing, teacherWeight, V }: Mixed,
  gradScale: number,
): { loss: Float64Array; dlogits: Float64Array } {
  const N = targets.length;
  const loss = new Float64Array(N);
  const dlogits = new Float64Array(N * V);
  const logSoftmax = (of: Numbers, row: number) => {
    const values = Array.from({ length: V }, (_, j) => of[row * V + j]!);
    const max = Math.max(...values);
    const sum = values.reduce((total, value) => total + Math.exp(value - max), 0);
    return values.map((value) => value - max - Math.log(sum));
  };
  for (let row = 0; row < N; row++) {
    if (targets[row]! < 0) continue;
    const own = logSoftmax(logits, row);
    const taught = teacher === null ? null : logSoftmax(teacher, row);
    for (let j = 0; j < V; j++) {
      const given = (1 - smoothing) * (j === targets[row] ? 1 : 0) + smoothing / V;
      const wanted = (1 - teacherWeight) * given +
        (taught === null ? 0 : teacherWeight * Math.exp(taught[j]!));
      loss[row] = loss[row]! - wanted * own[j]!;
      dlogits[row * V + j] = gradScale * (Math.exp(own[j]!) - wanted);
    }
  }
  return { loss, dlogits };
}
