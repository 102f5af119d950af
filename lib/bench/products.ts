/**
 * Matrix products to measure: inputs, the call, and what the result has to be.
 *
 * A product has `rows` x `columns` results, each a sum over `depth`.
 *
 * @module
 */

import type { Device } from "../ffi/device.ts";
import { gemm } from "../kernels/gemm.ts";
import {
  gemmTernaryBackwardInput,
  gemmTernaryBackwardWeight,
  gemmTernaryForward,
  gemmTernaryPackedForward,
} from "../kernels/gemm_ternary.ts";
import { packedWidth, packTernary } from "../kernels/pack_ternary.ts";
import { Arena } from "../tensor/arena.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** The ops that are products, by the name of their C function without `tb_`. */
export const PRODUCTS = [
  "gemm_ternary_forward",
  "gemm_ternary_packed_forward",
  "gemm_ternary_backward_input",
  "gemm_ternary_backward_weight",
  "gemm",
] as const;

export type ProductName = typeof PRODUCTS[number];

/** Sizes of a product. */
export interface ProductSizes {
  rows: number;
  columns: number;
  depth: number;
}

/** A product over its own memory, ready to be called again and again. */
export interface Product extends Disposable {
  /** Calls the op. */
  run(): void;
  /** (rows, columns) float32, what {@linkcode Product.run} writes. */
  result: Tensor;
  /** The operands as float32 matrices, for a rival's sgemm. */
  a: Tensor;
  b: Tensor;
  transposeA: boolean;
  transposeB: boolean;
  /** (rows, columns) float32, for the rival. */
  rivalResult: Tensor;
  /** One result in FP64, and the sum of the magnitudes of its terms. */
  exact(row: number, column: number): { value: number; magnitude: number };
  /** Bytes of the op's operands and result. */
  bytes: number;
}

/** A matrix as the op takes it, and as real numbers: integers times the factor of their row, or just numbers. */
interface Operand {
  values: Int8Array<ArrayBuffer> | Float32Array<ArrayBuffer>;
  scale: Float32Array<ArrayBuffer> | null;
  columns: number;
}

/** Makes a product with random inputs. */
export function makeProduct(device: Device, name: ProductName, sizes: ProductSizes): Product {
  const { rows, columns, depth } = sizes;
  const isForward = name === "gemm_ternary_forward" || name === "gemm_ternary_packed_forward";
  const transposeA = name === "gemm_ternary_backward_weight";
  const transposeB = isForward || name === "gemm";
  const [rowsA, columnsA] = transposeA ? [depth, rows] : [rows, depth];
  const [rowsB, columnsB] = transposeB ? [columns, depth] : [depth, columns];
  const a = isForward ? integers(rowsA, columnsA, 255) : reals(rowsA, columnsA);
  const b = name === "gemm"
    ? reals(rowsB, columnsB)
    : integers(rowsB, columnsB, transposeA ? 255 : 3);

  const arena = new Arena(`benchmark of ${name}`);
  const place = (of: string, { values, scale }: Operand, shape: readonly number[]) => ({
    values: arena.tensor(of, values instanceof Int8Array ? "int8" : "float32", shape),
    scale: scale && arena.tensor(`${of} scale`, "float32", [shape[0]!]),
    real: arena.tensor(`${of} as float32`, "float32", shape),
  });
  const inA = place("a", a, [rowsA, columnsA]);
  const inB = place("b", b, [rowsB, columnsB]);
  const packed = arena.tensor("packed b", "int32", [rowsB, packedWidth(columnsB)]);
  const result = arena.tensor("result", "float32", [rows, columns]);
  const rivalResult = arena.tensor("the rival's result", "float32", [rows, columns]);
  arena.commit(device);
  for (const [placed, operand] of [[inA, a], [inB, b]] as const) {
    placed.values.upload(operand.values);
    if (operand.scale !== null) placed.scale!.upload(operand.scale);
    placed.real.upload(
      Float32Array.from({ length: operand.values.length }, (_, i) => realAt(operand, i)),
    );
  }
  if (name === "gemm_ternary_packed_forward") packTernary({ q: inB.values, packed });

  const calls: Record<ProductName, () => void> = {
    gemm: () => gemm({ a: inA.values, b: inB.values, c: result, transposeB }),
    gemm_ternary_forward: () =>
      gemmTernaryForward({
        x: inA.values,
        xScale: inA.scale!,
        w: inB.values,
        wScale: inB.scale!,
        y: result,
      }),
    gemm_ternary_packed_forward: () =>
      gemmTernaryPackedForward({
        x: inA.values,
        xScale: inA.scale!,
        packed,
        wScale: inB.scale!,
        y: result,
      }),
    gemm_ternary_backward_input: () =>
      gemmTernaryBackwardInput({ dy: inA.values, w: inB.values, wScale: inB.scale!, dx: result }),
    gemm_ternary_backward_weight: () =>
      gemmTernaryBackwardWeight({ dy: inA.values, x: inB.values, xScale: inB.scale!, dw: result }),
  };
  const weights = name === "gemm_ternary_packed_forward" ? packed : inB.values;
  return {
    run: calls[name],
    result,
    a: inA.real,
    b: inB.real,
    transposeA,
    transposeB,
    rivalResult,
    exact(row, column) {
      let value = 0;
      let magnitude = 0;
      for (let k = 0; k < depth; k++) {
        const term = realAt(a, transposeA ? k * rows + row : row * depth + k) *
          realAt(b, transposeB ? column * depth + k : k * columns + column);
        value += term;
        magnitude += Math.abs(term);
      }
      return { value, magnitude };
    },
    bytes: inA.values.bytes + weights.bytes + result.bytes,
    [Symbol.dispose]: () => arena[Symbol.dispose](),
  };
}

function reals(rows: number, columns: number): Operand {
  const values = Float32Array.from({ length: rows * columns }, () => Math.random() - 0.5);
  return { values, scale: null, columns };
}

/** An odd number of `levels` around zero: 3 are the ternary values, 255 those of an activation. */
function integers(rows: number, columns: number, levels: number): Operand {
  const most = (levels - 1) / 2;
  const values = Int8Array.from(
    { length: rows * columns },
    () => Math.floor(Math.random() * levels) - most,
  );
  const scale = Float32Array.from({ length: rows }, () => (0.5 + Math.random()) / most);
  return { values, scale, columns };
}

function realAt({ values, scale, columns }: Operand, index: number): number {
  const value = values[index]!;
  return scale === null ? value : value * scale[Math.floor(index / columns)]!;
}
