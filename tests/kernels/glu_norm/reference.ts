/** h = act(gate) * up and its gradients, from the definition; the norm itself is tested as rmsnorm. */

import type { Numbers } from "../../support/compare.ts";
import { exact, type Round } from "../../support/round.ts";
import { rmsnorm, rmsnormGradients } from "../rmsnorm/reference.ts";

export interface Glu {
  /** (N, 2F): gate, then up. */
  gateUp: Numbers;
  act: "silu" | "relu2";
  /** (F) */
  weight: Numbers;
  eps: number;
}

/** Value and derivative of the non-linearity. */
function activation(act: Glu["act"], x: number, round: Round): [number, number] {
  if (act === "relu2") {
    const positive = Math.max(x, 0);
    return [round(positive * positive), round(2 * positive)];
  }
  const sigmoid = round(1 / round(1 + round(Math.exp(-x))));
  const value = round(x * sigmoid);
  return [value, round(sigmoid * round(1 + round(x * round(1 - sigmoid))))];
}

function gated({ gateUp, act, weight }: Glu, round: Round): Float64Array {
  const F = weight.length;
  return Float64Array.from({ length: gateUp.length / 2 }, (_, i) => {
    const at = Math.floor(i / F) * 2 * F + (i % F);
    return round(activation(act, gateUp[at]!, round)[0] * gateUp[at + F]!);
  });
}

export function gluNorm(
  glu: Glu,
  round: Round = exact,
): { y: Float64Array; rstd: Float64Array } {
  return rmsnorm({ x: gated(glu, round), weight: glu.weight, eps: glu.eps }, round);
}

export function gluNormGradients(
  glu: Glu,
  dy: Numbers,
  round: Round = exact,
): { dgateUp: Float64Array; dweight: Float64Array; direct: Float64Array; terms: Float64Array } {
  const { gateUp, act, weight, eps } = glu;
  const F = weight.length;
  const norm = rmsnormGradients({ x: gated(glu, round), weight, eps }, dy, round);
  const dgateUp = new Float64Array(gateUp.length);
  const direct = new Float64Array(gateUp.length);
  norm.dx.forEach((gradient, i) => {
    const at = Math.floor(i / F) * 2 * F + (i % F);
    const [value, slope] = activation(act, gateUp[at]!, round);
    dgateUp[at] = round(round(gradient * gateUp[at + F]!) * slope);
    dgateUp[at + F] = round(gradient * value);
    direct[at] = norm.direct[i]! * gateUp[at + F]! * slope;
    direct[at + F] = norm.direct[i]! * value;
  });
  return { dgateUp, dweight: norm.dweight, direct, terms: norm.terms };
}
