import type { Shape } from "./reference.ts";

/** Around the blocks of 48 and 96 queries and 64 keys, odd and large heads, grouped keys. */
export const TRAINING_CASES: readonly Shape[] = [
  { B: 1, T: 1, H: 1, G: 1, E: 1 },
  { B: 2, T: 7, H: 3, G: 1, E: 2 },
  { B: 1, T: 47, H: 2, G: 2, E: 6 },
  { B: 2, T: 65, H: 4, G: 2, E: 16 },
  { B: 1, T: 96, H: 2, G: 1, E: 64 },
  { B: 1, T: 97, H: 2, G: 2, E: 100 },
  { B: 1, T: 131, H: 6, G: 2, E: 8 },
  { B: 1, T: 193, H: 1, G: 1, E: 36 },
  { B: 1, T: 33, H: 1, G: 1, E: 256 },
];

export type DecodingShape = Shape & { capacity: number; start: number[] };

/** Few and many new queries, slices of 256 keys and one less or more, sequences of unequal length. */
export const DECODING_CASES: readonly DecodingShape[] = [
  { B: 1, T: 1, H: 1, G: 1, E: 1, capacity: 1, start: [0] },
  { B: 3, T: 1, H: 4, G: 2, E: 64, capacity: 70, start: [0, 69, 31] },
  { B: 1, T: 1, H: 5, G: 1, E: 100, capacity: 600, start: [511] },
  { B: 2, T: 1, H: 2, G: 1, E: 6, capacity: 520, start: [255, 256] },
  { B: 1, T: 2, H: 4, G: 4, E: 2, capacity: 260, start: [254] },
  { B: 2, T: 7, H: 6, G: 3, E: 20, capacity: 300, start: [250, 3] },
  { B: 1, T: 8, H: 2, G: 1, E: 32, capacity: 80, start: [65] },
  { B: 2, T: 101, H: 2, G: 1, E: 12, capacity: 140, start: [0, 39] },
  { B: 1, T: 3, H: 1, G: 1, E: 256, capacity: 9, start: [5] },
];

/** Around the tiles of 64 keys and 128 queries of the head widths with tensor-core kernels, and two widths without. */
export const TILE_CASES: readonly Shape[] = [
  { B: 1, T: 1, H: 1, G: 1, E: 64 },
  { B: 2, T: 31, H: 4, G: 2, E: 64 },
  { B: 1, T: 127, H: 2, G: 1, E: 64 },
  { B: 1, T: 128, H: 1, G: 1, E: 64 },
  { B: 2, T: 129, H: 3, G: 1, E: 64 },
  { B: 1, T: 257, H: 2, G: 2, E: 64 },
  { B: 1, T: 63, H: 2, G: 1, E: 100 },
  { B: 2, T: 65, H: 2, G: 2, E: 100 },
  { B: 1, T: 193, H: 2, G: 1, E: 100 },
  { B: 1, T: 64, H: 4, G: 1, E: 128 },
  { B: 2, T: 131, H: 1, G: 1, E: 128 },
  { B: 1, T: 70, H: 2, G: 1, E: 36 },
  { B: 1, T: 33, H: 1, G: 1, E: 256 },
];

/** Splits of 256 keys and one less or more, prefills on tiles, unequal lengths. */
export const TILE_DECODING_CASES: readonly DecodingShape[] = [
  { B: 1, T: 1, H: 1, G: 1, E: 64, capacity: 1, start: [0] },
  { B: 3, T: 1, H: 4, G: 2, E: 64, capacity: 700, start: [0, 699, 300] },
  { B: 2, T: 1, H: 2, G: 2, E: 64, capacity: 520, start: [255, 256] },
  { B: 1, T: 1, H: 5, G: 1, E: 100, capacity: 600, start: [511] },
  { B: 2, T: 1, H: 8, G: 1, E: 128, capacity: 600, start: [511, 599] },
  { B: 2, T: 8, H: 6, G: 3, E: 64, capacity: 300, start: [250, 3] },
  { B: 1, T: 9, H: 2, G: 1, E: 100, capacity: 80, start: [65] },
  { B: 2, T: 140, H: 2, G: 1, E: 64, capacity: 200, start: [0, 39] },
  { B: 1, T: 20, H: 2, G: 2, E: 128, capacity: 99, start: [70] },
  { B: 2, T: 3, H: 2, G: 1, E: 20, capacity: 300, start: [297, 1] },
];
