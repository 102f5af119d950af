/**
 * Which cases a benchmark run measures.
 *
 * @module
 */

import { type ProductName, PRODUCTS, type ProductSizes } from "./products.ts";

/** One case of a suite. */
export interface ProductCase {
  op: ProductName;
  sizes: ProductSizes;
}

/**
 * `cpu`: every product at the shapes of a small model's training (512 tokens or outputs of 2048), and those of decoding one
 * token: packed and int8 projections of a 1.3B model, and the head over a vocabulary of 32,000.
 */
export function cpuCases(): ProductCase[] {
  const training = [
    { rows: 512, columns: 512, depth: 2048 },
    { rows: 2048, columns: 512, depth: 512 },
  ];
  return [
    ...training.flatMap((sizes) => PRODUCTS.map((op) => ({ op, sizes }))),
    { op: "gemm_ternary_packed_forward", sizes: { rows: 1, columns: 5632, depth: 2048 } },
    { op: "gemm_ternary_packed_forward", sizes: { rows: 8, columns: 5632, depth: 2048 } },
    { op: "gemm_ternary_forward", sizes: { rows: 1, columns: 5632, depth: 2048 } },
    { op: "gemm", sizes: { rows: 1, columns: 32000, depth: 512 } },
  ];
}

/** `gemm`: every product at one shape. */
export function shapeCases(sizes: ProductSizes): ProductCase[] {
  return PRODUCTS.map((op) => ({ op, sizes }));
}
