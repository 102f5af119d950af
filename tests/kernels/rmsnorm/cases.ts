/** Rows and widths: one, primes, around the vectors and their unrolling, more rows than the blocks of the weight gradient. */
export const CASES: readonly { N: number; D: number }[] = [
  { N: 1, D: 1 },
  { N: 3, D: 2 },
  { N: 1, D: 4099 },
  { N: 17, D: 7 },
  { N: 5, D: 31 },
  { N: 5, D: 33 },
  { N: 129, D: 64 },
  { N: 67, D: 101 },
  { N: 2113, D: 16 },
];
