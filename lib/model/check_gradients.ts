/**
 * Gradients of a backward pass written by hand, against finite differences of its forward pass.
 *
 * @module
 */

import { randomNormal } from "../kernels/random.ts";
import { expectTensor, type Tensor } from "../tensor/tensor.ts";

/** Something that a pass depends on, and where its backward pass leaves the gradient by it; both float32, of one shape. */
export interface CheckedTensor {
  readonly value: Tensor;
  readonly gradient: Tensor;
}

/** A forward pass and its backward pass. */
export interface CheckedPass {
  /** Inputs and parameters, by names for the report. */
  readonly tensors: Readonly<Record<string, CheckedTensor>>;
  /** What {@linkcode CheckedPass.forward} leaves, float32 of any shape. */
  readonly output: Tensor;
  /**
   * Where {@linkcode CheckedPass.backward} finds the gradient of the output, float32 of its shape; it may be a tensor's `gradient`, for a
   * pass that turns one into the other in its place. A number where the output is a loss: the gradients are those of so many times its sum.
   */
  readonly outputGradient: Tensor | number;
  /** Computes the output from the tensors' values, which it may change. */
  forward(): void;
  /** Computes the gradients of the last forward pass, which were 0. */
  backward(): void;
}

/** Options of {@linkcode checkGradients}. */
export interface CheckOptions {
  /** Largest error that passes; see {@linkcode GradientError.error}. @default 0.01 */
  readonly tolerance?: number;
  /** Change of a value, as a share of the root mean square of its tensor. @default 0.003 */
  readonly step?: number;
  /** Values of each tensor that are changed, spread over it. @default 200 */
  readonly coordinates?: number;
  /** Of the output's gradient, drawn from N(0, 1). @default 0 */
  readonly seed?: number;
}

/** Where a gradient of a tensor is furthest from finite differences. */
export interface GradientError {
  /** Name of the tensor. */
  readonly name: string;
  /** Place in its shape. */
  readonly at: readonly number[];
  /** What the backward pass gave. */
  readonly analytic: number;
  /** What finite differences gave. */
  readonly numeric: number;
  /**
   * Their difference, less what rounding explains, over the larger of both, or over a hundredth of the tensor's largest gradient where that
   * is more; infinite where either is not finite.
   */
  readonly error: number;
  /** Values of the tensor that were looked at. */
  readonly coordinates: number;
}

/** What {@linkcode checkGradients} found. */
export interface GradientCheck {
  /** Whether every error is within the tolerance. */
  readonly ok: boolean;
  /** The largest error of all tensors. */
  readonly worst: GradientError;
  /** The largest error of each tensor, in their order. */
  readonly tensors: readonly GradientError[];
  /** The worst error in words. */
  readonly message: string;
}

/** How much smaller the second step is, for values whose first step crosses a kink. */
const SMALLER = 4;

/**
 * Changes values one by one and compares what becomes of the output with the gradients that the backward pass gives. Differences are
 * central; where those disagree, smaller ones and those of one side are tried, so that kinks, as a ReLU has, are no errors.
 *
 * What rounds, such as a quantiser with a straight-through gradient, has another gradient than finite differences by intent: check the pass
 * without it.
 *
 * Throws `TypeError` or `RangeError` for tensors that are not float32 or differ in shape from their gradients, or where there are none.
 */
export function checkGradients(pass: CheckedPass, options: CheckOptions = {}): GradientCheck {
  const { tolerance = 0.01, step = 0.003, coordinates = 200, seed = 0 } = options;
  const given = new Differences(pass, { seed });
  const tensors = Object.entries(pass.tensors).map(([name, tensor]) =>
    worstOf(name, given, { tensor, tolerance, step, coordinates })
  );
  if (tensors.length === 0) {
    throw new RangeError("Cannot check gradients as there must be a tensor: current value is none");
  }
  return gradientCheck(tensors, tolerance);
}

/** The result of errors of some tensors. */
export function gradientCheck(
  tensors: readonly GradientError[],
  tolerance: number,
): GradientCheck {
  const worst = tensors.reduce((most, one) => one.error > most.error ? one : most);
  const ok = worst.error <= tolerance;
  const { name, at, analytic, numeric, error } = worst;
  const message = `${ok ? "Gradients agree" : "A gradient is wrong"}: the worst, of ${name} at (${
    at.join(", ")
  }), is ${digits(analytic)} by the backward pass and ${
    digits(numeric)
  } by finite differences, an error of ${digits(error)} where ${tolerance} is allowed`;
  return { ok, worst, tensors, message };
}

/** Runs a pass with changed values. */
class Differences {
  readonly #pass: CheckedPass;
  readonly #values: ReadonlyMap<Tensor, Float32Array<ArrayBuffer>>;
  readonly #weights: Float32Array<ArrayBuffer>; // of the elements of the output
  readonly #gradients: ReadonlyMap<Tensor, Float32Array<ArrayBuffer>>;
  /** Of the weighted sum of the output, by its rounding alone. */
  readonly #noise: number;

  constructor(pass: CheckedPass, { seed }: { seed: number }) {
    const { output, outputGradient, tensors } = pass;
    const op = "checkGradients";
    expectTensor(output, { op, dtype: "float32" });
    for (const { value, gradient } of Object.values(tensors)) {
      expectTensor(value, { op, dtype: "float32" });
      expectTensor(gradient, { op, dtype: "float32", shape: value.shape });
    }
    this.#pass = pass;
    const all = Object.values(tensors);
    this.#values = new Map(all.map(({ value }) => [value, value.toFloat32Array()]));
    for (const { gradient } of all) gradient.zero();
    if (typeof outputGradient === "number") {
      this.#weights = new Float32Array(output.length).fill(outputGradient);
    } else {
      expectTensor(outputGradient, { op, dtype: "float32", shape: output.shape });
      randomNormal({ to: outputGradient, std: 1, seed: BigInt(seed), stream: 0n });
      this.#weights = outputGradient.toFloat32Array();
    }
    pass.forward();
    const terms = this.#terms();
    this.#noise = 4 * 2 ** -24 * Math.hypot(...terms);
    pass.backward();
    this.#gradients = new Map(all.map(({ value, gradient }) => [value, gradient.toFloat32Array()]));
    this.#restore();
  }

  valuesOf(tensor: Tensor): Float32Array<ArrayBuffer> {
    return this.#values.get(tensor)!;
  }

  gradientOf(tensor: Tensor): Float32Array<ArrayBuffer> {
    return this.#gradients.get(tensor)!;
  }

  /** Slopes over steps of `h` to either side, and what rounding may make of them. */
  slopes(tensor: Tensor, index: number, h: number) {
    const value = this.valuesOf(tensor)[index]!;
    const [below, above] = [Math.fround(value - h), Math.fround(value + h)];
    const [low, middle, high] = [below, value, above].map((to) => this.#sumAt(tensor, index, to));
    const noise = this.#noise / h;
    return {
      central: { slope: (high! - low!) / (above - below), noise },
      right: { slope: (high! - middle!) / (above - value), noise: 2 * noise },
      left: { slope: (middle! - low!) / (value - below), noise: 2 * noise },
    };
  }

  /** The weighted sum of the output with one value changed. */
  #sumAt(tensor: Tensor, index: number, to: number): number {
    const changed = this.valuesOf(tensor).slice();
    changed[index] = to;
    tensor.upload(changed);
    this.#pass.forward();
    const sum = this.#terms().reduce((total, term) => total + term, 0);
    this.#restore(); // all of them, as the pass may change what it reads
    return sum;
  }

  #terms(): Float64Array {
    return Float64Array.from(
      this.#pass.output.toFloat32Array(),
      (value, i) => value * this.#weights[i]!,
    );
  }

  #restore(): void {
    for (const [tensor, values] of this.#values) tensor.upload(values);
  }
}

function worstOf(
  name: string,
  given: Differences,
  options: { tensor: CheckedTensor; tolerance: number; step: number; coordinates: number },
): GradientError {
  const { tensor: { value: tensor }, tolerance, coordinates } = options;
  const values = given.valuesOf(tensor);
  const gradient = given.gradientOf(tensor);
  const count = Math.min(coordinates, values.length);
  const indices = Array.from(
    { length: count },
    (_, i) => Math.floor((i + 0.5) * values.length / count),
  );
  const size = Math.hypot(...values) / Math.sqrt(values.length);
  const h = options.step * (size > 0 && Number.isFinite(size) ? size : 1);
  const centers = indices.map((index) => given.slopes(tensor, index, h).central);
  const least = 0.01 * Math.max(
    ...indices.map((index) => Math.abs(gradient[index]!)).filter(Number.isFinite),
    ...centers.map(({ slope }) => Math.abs(slope)).filter(Number.isFinite),
    0,
  );
  let worst: GradientError | null = null;
  for (const [i, index] of indices.entries()) {
    const analytic = gradient[index]!;
    const judge = ({ slope, noise }: { slope: number; noise: number }) => ({
      numeric: slope,
      error: errorOf(analytic, slope, { noise, least }),
    });
    let found = judge(centers[i]!);
    if (found.error > tolerance) {
      const { central, left, right } = given.slopes(tensor, index, h / SMALLER);
      found = [found, ...[central, left, right].map(judge)]
        .reduce((best, one) => one.error < best.error ? one : best);
    }
    if (worst === null || found.error > worst.error) {
      worst = { name, at: placeOf(index, tensor.shape), analytic, ...found, coordinates: count };
    }
  }
  return worst ?? { name, at: [], analytic: 0, numeric: 0, error: 0, coordinates: 0 };
}

function errorOf(
  analytic: number,
  numeric: number,
  { noise, least }: { noise: number; least: number },
): number {
  const difference = Math.abs(analytic - numeric);
  if (!Number.isFinite(difference)) return Infinity;
  const explained = Math.max(0, difference - noise);
  return explained === 0 ? 0 : explained / Math.max(Math.abs(analytic), Math.abs(numeric), least);
}

function placeOf(index: number, shape: readonly number[]): number[] {
  const place: number[] = [];
  let rest = index;
  for (const size of shape.toReversed()) {
    place.unshift(rest % size);
    rest = Math.floor(rest / size);
  }
  return place;
}

function digits(value: number): string {
  return String(Number(value.toPrecision(4)));
}
