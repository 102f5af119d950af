/** A 32-bit hash in which every bit of the input turns half of the output's (constants of Chris Wellons' search). */
export function mixBits(value: number): number {
  let x = value | 0;
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return (x ^ (x >>> 15)) >>> 0;
}

/** A number from 0 (included) to 1 (excluded) that only depends on the key: integers from 0 to 2^53 - 1. */
export function hashToUnit(key: readonly number[]): number {
  return foldKey(key) / 2 ** 32;
}

/** One 32-bit hash of several integers from 0 to 2^53 - 1. */
export function foldKey(key: readonly number[]): number {
  let state = 0x2545f491;
  for (const part of key) {
    state = mixBits(state ^ (part >>> 0));
    state = mixBits(state ^ Math.floor(part / 2 ** 32));
  }
  return state;
}
