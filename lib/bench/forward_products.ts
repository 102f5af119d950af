/**
 * The forward product of a projection by everyone who can compute it: the project's kernels and cuBLASLt.
 *
 * @module
 */

import type { Device } from "../ffi/device.ts";
import { gemmTernaryForward, gemmTernaryPackedForward } from "../kernels/gemm_ternary.ts";
import { packedWidth, packTernary } from "../kernels/pack_ternary.ts";
import { countPeerAlgorithms, PEER_KINDS, peerGemm, type PeerKind } from "../kernels/peer_gemm.ts";
import { Arena } from "../tensor/arena.ts";
import { BYTES, type DType } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { countSets } from "./launch_timing.ts";
import { BFLOAT16, decodeMinifloat, encodeMinifloat } from "./minifloat.ts";
import { fillPeriodic, type Periodic, periodicIntegers, periodicNormals } from "./periodic.ts";
import type { Arithmetic } from "./roofs.ts";

/** M tokens, N outputs, K inputs. */
export interface ForwardSizes {
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** Who computes the product, by the name in tables. */
export const FORWARD_KERNELS = {
  "ternary int8": { arithmetic: "int8", peer: null },
  "ternary 2-bit": { arithmetic: "int8", peer: null },
  "cuBLASLt bf16": { arithmetic: "bf16", peer: "bf16" },
  "cuBLASLt fp16": { arithmetic: "bf16", peer: "fp16" },
  "cuBLASLt fp8": { arithmetic: "fp8", peer: "fp8" },
  "cuBLASLt int8": { arithmetic: "int8", peer: "int8" },
} as const satisfies Record<string, { arithmetic: Arithmetic; peer: PeerKind | null }>;

export type ForwardKernel = keyof typeof FORWARD_KERNELS;

/** What an element has to be. */
export interface ExactElement {
  /** In FP64. */
  readonly value: number;
  /** Sum of the magnitudes of its terms. */
  readonly magnitude: number;
  /** Root of the sum of their squares: what sums of some of the terms are about as large as. */
  readonly typical: number;
  /** The one value that is right to the last bit; null where sums are rounded on the way, in an order of the kernel's own. */
  readonly bits: number | null;
}

/** A product over its own memory. */
export interface ForwardProduct extends Disposable {
  readonly kernel: ForwardKernel;
  /** Algorithms to choose among; 1 for the project's own. */
  readonly algorithms: number;
  /** The op over each set of operands. */
  runs(algorithm: number): (() => void)[];
  /** (M, N), of the last set. */
  readonly result: Tensor;
  /** Of one set. */
  readonly bytes: number;
  /** Bytes of the weights as float32 over those of their buffer. */
  readonly float32ToWeights: number;
  exact(row: number, column: number): ExactElement;
}

/** Bytes to which {@linkcode peerGemm} wants operands aligned. */
const PEER_ALIGNMENT = 256;

/** Makes the product; null where the device has none of this kind. `cacheBytes`: see {@linkcode countSets}. */
export function makeForwardProduct(
  device: Device,
  kernel: ForwardKernel,
  sizes: ForwardSizes,
  { cacheBytes }: { cacheBytes: number },
): ForwardProduct | null {
  const { peer } = FORWARD_KERNELS[kernel];
  if (peer === null) return makeTernary(device, kernel, sizes, cacheBytes);
  const algorithms = countPeerAlgorithms(device, { kind: peer, ...sizes });
  return algorithms === 0
    ? null
    : makePeer(device, kernel, sizes, { peer, algorithms, cacheBytes });
}

function makePeer(
  device: Device,
  kernel: ForwardKernel,
  { M, N, K }: ForwardSizes,
  { peer, algorithms, cacheBytes }: { peer: PeerKind; algorithms: number; cacheBytes: number },
): ForwardProduct {
  const { operands, result } = PEER_KINDS[peer];
  const integers = peer === "int8";
  const x = integers ? periodicIntegers(127) : periodicNormals(operands);
  const w = integers ? periodicIntegers(1) : periodicNormals(operands);
  const bytes = (M + N) * K * BYTES[operands] + M * N * BYTES[result];
  const arena = new Arena(`benchmark of ${kernel}`);
  // A card's allocations start at whole 256 bytes, as cuBLASLt likes its operands: each is filled up to them.
  const plan = (name: string, dtype: DType, shape: [number, number]) => {
    const values = PEER_ALIGNMENT / BYTES[dtype];
    const whole = Math.ceil(shape[0] * shape[1] / values) * values;
    return arena.tensor(name, dtype, [whole]).view(shape);
  };
  const sets = Array.from({ length: countSets(bytes, cacheBytes) }, () => ({
    a: plan("a", operands, [M, K]),
    b: plan("b", operands, [N, K]),
    c: plan("c", result, [M, N]),
  }));
  arena.commit(device);
  for (const { a, b } of sets) {
    fillPeriodic(a, x);
    fillPeriodic(b, w);
  }
  return {
    kernel,
    algorithms,
    runs: (algorithm) => sets.map((set) => () => peerGemm({ kind: peer, algorithm, ...set })),
    result: sets.at(-1)!.c,
    bytes,
    float32ToWeights: 4 / BYTES[operands],
    exact(row, column) {
      const { sum, magnitude, typical } = dot({ x, row }, { w, column }, K);
      return { value: sum, magnitude, typical, bits: integers ? sum : null };
    },
    [Symbol.dispose]: () => arena[Symbol.dispose](),
  };
}

function makeTernary(
  device: Device,
  kernel: ForwardKernel,
  { M, N, K }: ForwardSizes,
  cacheBytes: number,
): ForwardProduct {
  const isPacked = kernel === "ternary 2-bit";
  const result: DType = device.activationDtype;
  const x = periodicIntegers(127), w = periodicIntegers(1);
  const scales = (length: number) =>
    Float32Array.from({ length }, () => (0.5 + Math.random()) / 127);
  const xScales = scales(M), wScales = scales(N);
  const weights: [DType, number[]] = isPacked ? ["int32", [N, packedWidth(K)]] : ["int8", [N, K]];
  const weightBytes = weights[1].reduce((product, size) => product * size, BYTES[weights[0]]);
  const bytes = M * K + weightBytes + 4 * (M + N) + M * N * BYTES[result];
  const arena = new Arena(`benchmark of ${kernel}`);
  const sets = Array.from({ length: countSets(bytes, cacheBytes) }, () => ({
    x: arena.tensor("x", "int8", [M, K]),
    xScale: arena.tensor("x scale", "float32", [M]),
    weights: arena.tensor("w", ...weights),
    wScale: arena.tensor("w scale", "float32", [N]),
    y: arena.tensor("y", result, [M, N]),
  }));
  const unpacked = isPacked ? arena.tensor("w before packing", "int8", [N, K]) : null;
  arena.commit(device);
  if (unpacked !== null) fillPeriodic(unpacked, w);
  for (const set of sets) {
    fillPeriodic(set.x, x);
    set.xScale.upload(xScales);
    set.wScale.upload(wScales);
    if (unpacked === null) fillPeriodic(set.weights, w);
    else packTernary({ q: unpacked, packed: set.weights });
  }
  return {
    kernel,
    algorithms: 1,
    runs: () =>
      sets.map(({ weights, ...set }) => () =>
        isPacked
          ? gemmTernaryPackedForward({ ...set, packed: weights })
          : gemmTernaryForward({ ...set, w: weights })
      ),
    result: sets.at(-1)!.y,
    bytes,
    float32ToWeights: 4 * N * K / sets[0]!.weights.bytes,
    exact(row, column) {
      const { sum, magnitude, typical } = dot({ x, row }, { w, column }, K);
      const factor = xScales[row]! * wScales[column]!;
      // The header's epilogue: every operation rounded to float32, then once to y's dtype.
      const float32 = Math.fround(Math.fround(sum) * Math.fround(factor));
      return {
        value: sum * factor,
        magnitude: magnitude * factor,
        typical: typical * factor,
        bits: result === "bfloat16"
          ? decodeMinifloat(encodeMinifloat(float32, BFLOAT16), BFLOAT16)
          : float32,
      };
    },
    [Symbol.dispose]: () => arena[Symbol.dispose](),
  };
}

function dot(
  { x, row }: { x: Periodic; row: number },
  { w, column }: { w: Periodic; column: number },
  K: number,
): { sum: number; magnitude: number; typical: number } {
  const period = x.values.length;
  let sum = 0, magnitude = 0, squares = 0;
  for (let k = 0; k < K; k++) {
    const term = x.values[(row * K + k) % period]! * w.values[(column * K + k) % period]!;
    sum += term;
    magnitude += Math.abs(term);
    squares += term * term;
  }
  return { sum, magnitude, typical: Math.sqrt(squares) };
}
