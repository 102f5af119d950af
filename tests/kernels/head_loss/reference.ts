/** Cross-entropy of a linear head and its gradients, from the definition. */

import type { Numbers } from "../../support/compare.ts";
import { exact, type Round } from "../../support/round.ts";

export interface Head {
  x: Numbers; // (N, D)
  head: Numbers; // (V, D)
  targets: ArrayLike<number>; // (N)
  D: number;
  V: number;
}

/** Loss of each row in nats, 0 for ignored ones; gradients of gradScale * their sum. */
export function headLoss(
  { x, head, targets, D, V }: Head,
  gradScale = 1,
  round: Round = exact,
): { loss: Float64Array; dx: Float64Array; dhead: Float64Array } {
  const N = targets.length;
  const loss = new Float64Array(N);
  const dx = new Float64Array(N * D);
  const dhead = new Float64Array(V * D);
  for (let row = 0; row < N; row++) {
    const target = targets[row]!;
    if (target < 0) continue;
    const logits = new Float64Array(V);
    for (let j = 0; j < V; j++) {
      for (let d = 0; d < D; d++) {
        logits[j] = round(logits[j]! + round(x[row * D + d]! * head[j * D + d]!));
      }
    }
    const max = Math.max(...logits);
    const exponentials = logits.map((logit) => round(Math.exp(round(logit - max))));
    const sum = exponentials.reduce((total, value) => round(total + value), 0);
    loss[row] = round(round(max - logits[target]!) + round(Math.log(sum)));
    for (let j = 0; j < V; j++) {
      const p = round(exponentials[j]! / sum);
      const slope = round(gradScale * round(p - (j === target ? 1 : 0)));
      for (let d = 0; d < D; d++) {
        dx[row * D + d] = round(dx[row * D + d]! + round(slope * head[j * D + d]!));
        dhead[j * D + d] = round(dhead[j * D + d]! + round(slope * x[row * D + d]!));
      }
    }
  }
  return { loss, dx, dhead };
}
