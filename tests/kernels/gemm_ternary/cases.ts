/**
 * Shapes around every edge: 8 "few" rows and 8 streams of two threads for one, tiles of 6 x 16 and 12 x 32, units of 4 and words of 16 values, vectors of 32 and 64
 * bytes, 128 and 256 values of a packed vector, 64 units between two widenings, panels of several thousand rows. On the card:
 * 4 and 16 few rows, tiles of 64 x 128, steps of 128, pieces of 2048 of a row, rows of whole and of broken chunks of 16; 8, 16, 32
 * and 64 rows of 2-bit weights, 16 outputs and steps of 256.
 */
export const SHAPES: readonly { M: number; N: number; K: number }[] = [
  { M: 1, N: 1, K: 1 },
  { M: 1, N: 19, K: 127 },
  { M: 1, N: 7, K: 2049 },
  { M: 1, N: 17, K: 2300 },
  { M: 1, N: 131, K: 1030 },
  { M: 2, N: 33, K: 128 },
  { M: 3, N: 5, K: 129 },
  { M: 4, N: 3, K: 257 },
  { M: 5, N: 64, K: 64 },
  { M: 6, N: 17, K: 33 },
  { M: 7, N: 13, K: 100 },
  { M: 8, N: 31, K: 255 },
  { M: 9, N: 1, K: 3 },
  { M: 9, N: 16, K: 256 },
  { M: 12, N: 32, K: 260 },
  { M: 13, N: 33, K: 263 },
  { M: 17, N: 47, K: 515 },
  { M: 67, N: 61, K: 59 },
  { M: 2731, N: 3, K: 5 },
  { M: 3, N: 9, K: 2064 },
  { M: 16, N: 40, K: 2112 },
  { M: 17, N: 127, K: 272 },
  { M: 64, N: 128, K: 128 },
  { M: 65, N: 136, K: 144 },
  { M: 129, N: 257, K: 400 },
];
