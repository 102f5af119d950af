/**
 * Shapes around every edge of the CPU's products: tiles of 4 x 8, 6 x 16 and 12 x 32, blocks of 256 of the depth, 192 rows
 * of L2, 8 "few" rows, 3072 rows and 4096 columns of shared panels.
 */
export const SHAPES: readonly { M: number; N: number; K: number }[] = [
  { M: 1, N: 1, K: 1 },
  { M: 1, N: 37, K: 100 },
  { M: 2, N: 3, K: 5 },
  { M: 3, N: 18, K: 31 },
  { M: 4, N: 8, K: 16 },
  { M: 5, N: 16, K: 257 },
  { M: 6, N: 16, K: 256 },
  { M: 7, N: 17, K: 255 },
  { M: 8, N: 33, K: 65 },
  { M: 9, N: 5, K: 513 },
  { M: 12, N: 32, K: 64 },
  { M: 13, N: 31, K: 100 },
  { M: 97, N: 61, K: 67 },
  { M: 193, N: 33, K: 19 },
  { M: 3079, N: 3, K: 7 },
  { M: 11, N: 4111, K: 3 },
];
