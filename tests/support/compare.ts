/** Comparators of arrays. All fail on NaN by construction: a value passes only where it is shown to be near. */

import { AssertionError } from "@std/assert";

export type Numbers = ArrayLike<number>;

interface Pair {
  /** What is compared, for the message. */
  name: string;
  actual: Numbers;
  expected: Numbers;
  /** For coordinates in the message. @default one dimension */
  shape?: readonly number[];
}

/** Index of an element as coordinates, such as `(3, 0)`. */
function coordinate(index: number, shape: readonly number[]): string {
  const at: number[] = [];
  for (const size of [...shape].reverse()) {
    at.unshift(index % size);
    index = Math.floor(index / size);
  }
  return `(${at.join(", ")})`;
}

/** Largest |actual - expected|; Infinity where either is NaN or they differ in an infinity. */
function largestError(actual: Numbers, expected: Numbers): number {
  let largest = 0;
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(actual[i]! - expected[i]!);
    if (actual[i] === expected[i]) continue;
    largest = error <= Number.MAX_VALUE ? Math.max(largest, error) : Infinity;
  }
  return largest;
}

/** Largest finite magnitude. */
export function largestMagnitude(values: Numbers): number {
  let largest = 0;
  for (let i = 0; i < values.length; i++) {
    const magnitude = Math.abs(values[i]!);
    if (magnitude > largest && magnitude < Infinity) largest = magnitude;
  }
  return largest;
}

/** Passes where each |actual - expected| is at most `absolute + relative * |expected|`. */
export function assertClose(pair: Pair & { absolute?: number; relative?: number }): void {
  const { absolute = 0, relative = 0 } = pair;
  report(
    pair,
    (actual, expected) => Math.abs(actual - expected) <= absolute + relative * Math.abs(expected),
    `within ${absolute} + ${relative} * |expected|`,
  );
}

/** Passes where both hold the same numbers; 0 equals -0. */
export function assertSame(pair: Pair): void {
  report(pair, (actual, expected) => actual === expected, "equal");
}

/** Passes where both hold the same bits, NaN included. */
export function assertSameBits(
  pair: { name: string; actual: ArrayBufferView; expected: ArrayBufferView },
): void {
  const bytes = (view: ArrayBufferView) =>
    new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  report(
    { name: `bytes of ${pair.name}`, actual: bytes(pair.actual), expected: bytes(pair.expected) },
    (actual, expected) => actual === expected,
    "equal",
  );
}

/**
 * Passes where the largest error is at most twice that of `plain`, a straightforward float32 version, plus `floor` (a few units
 * in the last place) of the magnitude.
 */
export function assertAsGoodAsPlain(
  pair: Pair & {
    plain: Numbers;
    /** @default 4 * 2^-24 */
    floor?: number;
    /** Of the terms that results are sums of, where these cancel. @default that of the largest expected value */
    magnitude?: number;
  },
): void {
  const { plain, expected, floor = 4 * 2 ** -24 } = pair;
  const magnitude = pair.magnitude ?? largestMagnitude(expected);
  if (plain.length !== expected.length) {
    throw new AssertionError(`${pair.name}: plain has ${plain.length} of ${expected.length}`);
  }
  const bound = 2 * largestError(plain, expected) + floor * magnitude;
  if (!Number.isFinite(bound)) {
    throw new AssertionError(`${pair.name}: the plain version is not finite`);
  }
  report(
    pair,
    (a, e) => Math.abs(a - e) <= bound,
    `within ${bound}, twice the plain version's error`,
  );
}

function report(
  pair: Pair,
  passes: (actual: number, expected: number) => boolean,
  rule: string,
): void {
  const { name, actual, expected, shape = [expected.length] } = pair;
  if (actual.length !== expected.length) {
    throw new AssertionError(`${name} has ${actual.length} elements, not ${expected.length}`);
  }
  let count = 0;
  let first = -1;
  for (let i = 0; i < expected.length; i++) {
    if (passes(actual[i]!, expected[i]!)) continue;
    if (first < 0) first = i;
    count++;
  }
  if (count === 0) return;
  throw new AssertionError(
    `${count} of ${expected.length} elements of ${name} are not ${rule}; first at ${
      coordinate(first, shape)
    }: actual ${actual[first]}, expected ${expected[first]}; largest error ${
      largestError(actual, expected)
    }`,
  );
}
