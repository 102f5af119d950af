/**
 * How fast the card multiplies with 2-bit weights: `deno run -A tests/kernels/gemm_ternary/packed_bench.ts`.
 *
 * For the projections of one token, of a few and of a prefill: the product from 2-bit and from int8 weights beside the dense bfloat16
 * product of the same shape (cuBLASLt where it is found). Each launch of a recorded graph takes the next of as many matrices as exceed
 * the card's L2 cache twice, so that weights come from memory; times are the median of the rounds, between two events. Results of
 * sampled outputs are held to the exact sum before anything is timed. TITANBIT_NO_PACKED_ROWS=1 (few rows),
 * TITANBIT_NO_PACKED_WGMMA=1 (prefills by way of int8) and TITANBIT_NO_WGMMA=1 show the kernels beneath.
 */

import { assertEquals } from "@std/assert";
import { Device } from "../../../lib/ffi/device.ts";
import { DeviceEvent } from "../../../lib/ffi/event.ts";
import { Graph } from "../../../lib/ffi/graph.ts";
import { gemm } from "../../../lib/kernels/gemm.ts";
import { gemmTernaryForward, gemmTernaryPackedForward } from "../../../lib/kernels/gemm_ternary.ts";
import { packedWidth, packTernary } from "../../../lib/kernels/pack_ternary.ts";
import { Arena } from "../../../lib/tensor/arena.ts";
import type { Tensor } from "../../../lib/tensor/tensor.ts";
import { toBfloat16 } from "../../support/bfloat16.ts";
import { Random } from "../../support/random.ts";
import type { Sizes } from "./reference.ts";
import { repeated } from "./run.ts";

/** Outputs and inputs: q, k, v, o, gate and up, down of 1.3B; square ones of 3B's neighbourhood; what the literature measures. */
const DECODING = [
  [6144, 2048],
  [2048, 2048],
  [11264, 2048],
  [2048, 5632],
  [2560, 2560],
  [3200, 3200],
  [20480, 3200],
  [8192, 8192],
] as const;
const PREFILL = [[11264, 2048], [2048, 5632]] as const;
const SHAPES: Sizes[] = [
  ...[1, 4, 16].flatMap((M) => DECODING.map(([N, K]) => ({ M, N, K }))),
  ...[64, 128, 256, 512, 4096].flatMap((M) => PREFILL.map(([N, K]) => ({ M, N, K }))),
];

/** Bytes of weights that no cache holds half of. */
const ROTATED = 120e6;
const ROUNDS = 9;
const SAMPLES = 64;
/** Weights that all matrices of a shape have together, at most, as 2-bit codes: nine of 20480 x 3200. */
const POOL = 9 * 20480 * 3200;
const POOL_BF16 = 2 * 8192 * 8192;

const random = new Random(1);
const TERNARY = random.int8s(1_000_003, -1, 1);
const NORMALS = toBfloat16(random.normals(1_000_003));

interface Pools {
  int8: Tensor;
  packed: Tensor;
  bf16: Tensor;
}

/** Values over and over, as long as the tensor is. */
function fill(tensor: Tensor, values: Int8Array<ArrayBuffer> | Uint16Array<ArrayBuffer>): void {
  for (let at = 0; at < tensor.length; at += values.length) {
    const count = Math.min(values.length, tensor.length - at);
    tensor.view([count], { offset: at }).upload(values.subarray(0, count));
  }
}

/** Matrices of (N, K) elements, or of as many words, that lie one behind the other. */
function matrices(pool: Tensor, rows: number, columns: number, bytes: number): Tensor[] {
  const count = Math.max(2, Math.ceil(ROTATED / (rows * columns * bytes)));
  return Array.from(
    { length: count },
    (_, i) => pool.view([rows, columns], { offset: i * rows * columns }),
  );
}

/** Microseconds of one call, each with the next matrix. */
function time(device: Device, weights: Tensor[], { M }: Sizes, run: (w: Tensor) => void): number {
  run(weights[0]!);
  const calls = M <= 16 ? Math.max(60, weights.length) : Math.min(12, 2 * weights.length);
  using graph = Graph.record(device, () => {
    for (let i = 0; i < calls; i++) run(weights[i % weights.length]!);
  });
  using before = new DeviceEvent(device);
  using after = new DeviceEvent(device);
  graph.launch();
  const rounds = Array.from({ length: ROUNDS }, () => {
    before.record();
    graph.launch();
    after.record();
    return after.millisecondsSince(before) * 1000 / calls;
  });
  return rounds.sort((a, b) => a - b)[Math.floor(ROUNDS / 2)]!;
}

function measure(device: Device, pools: Pools, sizes: Sizes): string[] {
  const { M, N, K } = sizes;
  const width = packedWidth(K);
  using arena = new Arena("operands");
  const x = arena.tensor("x", "int8", [M, K]), xScale = arena.tensor("xScale", "float32", [M]);
  const x16 = arena.tensor("x16", "bfloat16", [M, K]), y = arena.tensor("y", "bfloat16", [M, N]);
  const wScale = arena.tensor("wScale", "float32", [N]);
  arena.commit(device);
  const values = {
    x: repeated(random, M * K, -128, 127),
    xScale: random.normals(M, 0.01),
    wScale: random.normals(N, 0.02),
  };
  x.upload(values.x);
  xScale.upload(values.xScale);
  wScale.upload(values.wScale);
  fill(x16, NORMALS);

  const packed = matrices(pools.packed, N, width, 4);
  packTernary({
    q: pools.int8.view([packed.length * N, K]),
    packed: pools.packed.view([packed.length * N, width]),
  });
  const int8 = matrices(pools.int8, N, K, 1);
  const operands = { x, xScale, wScale, y };
  const fromPacked = (w: Tensor) => gemmTernaryPackedForward({ ...operands, packed: w });
  const fromInt8 = (w: Tensor) => gemmTernaryForward({ ...operands, w });
  for (
    const [index, run] of [
      [packed.length - 1, () => fromPacked(packed.at(-1)!)],
      [1, () => fromInt8(int8[1]!)],
    ] as const
  ) {
    device.fill(y.address, 0xff, y.bytes);
    run();
    check(y.download(new Uint16Array(M * N)), values, sizes, index);
  }

  const us = {
    packed: time(device, packed, sizes, fromPacked),
    int8: time(device, int8, sizes, fromInt8),
    bf16: time(
      device,
      matrices(pools.bf16, N, K, 2),
      sizes,
      (b) => gemm({ a: x16, b, c: y, transposeB: true }),
    ),
  };
  return [
    `${M} x ${N} x ${K}`,
    us.packed.toFixed(2),
    (N * width * 4 / us.packed / 1e3).toFixed(0),
    (2 * M * N * K / us.packed / 1e6).toFixed(1),
    us.int8.toFixed(2),
    us.bf16.toFixed(2),
    (us.int8 / us.packed).toFixed(2),
    (us.bf16 / us.packed).toFixed(2),
  ];
}

/** Holds sampled outputs to the exact sum through the one epilogue; `matrix` is the place of the weights in their pool. */
function check(
  y: Uint16Array,
  values: { x: Int8Array; xScale: Float32Array; wScale: Float32Array },
  { M, N, K }: Sizes,
  matrix: number,
): void {
  const { x, xScale, wScale } = values;
  for (let sample = 0; sample < SAMPLES; sample++) {
    const m = sample < 2 ? sample * (M - 1) : random.integer(0, M - 1);
    const n = sample < 2 ? sample * (N - 1) : random.integer(0, N - 1);
    const first = (matrix * N + n) * K;
    let sum = 0;
    for (let k = 0; k < K; k++) sum += x[m * K + k]! * TERNARY[(first + k) % TERNARY.length]!;
    const expected = Math.fround(Math.fround(sum) * Math.fround(xScale[m]! * wScale[n]!));
    assertEquals(
      y[m * N + n],
      toBfloat16(Float32Array.of(expected))[0],
      `bits of y at (${m}, ${n}) of ${M} x ${N} x ${K}`,
    );
  }
}

const HEAD = ["M x N x K", "2-bit us", "GB/s", "TOP/s", "int8 us", "bf16 us", "x int8", "x bf16"];

if (import.meta.main) {
  using device = Device.open({ kind: "cuda" });
  using arena = new Arena("weights");
  const pools = {
    int8: arena.tensor("int8", "int8", [POOL]),
    packed: arena.tensor("packed", "int32", [POOL / 16]),
    bf16: arena.tensor("bf16", "bfloat16", [POOL_BF16]),
  };
  arena.commit(device);
  fill(pools.int8, TERNARY);
  fill(pools.bf16, NORMALS);
  const switches = [
    "TITANBIT_NO_PACKED_ROWS",
    "TITANBIT_NO_PACKED_WGMMA",
    "TITANBIT_NO_WGMMA",
    "TITANBIT_NO_CUBLAS",
  ]
    .filter((name) => !["", "0"].includes(Deno.env.get(name) ?? ""));
  console.log([device.description.name, ...switches].join(", "));
  const line = (columns: string[]) =>
    columns.map((text, i) => i === 0 ? text.padEnd(20) : text.padStart(9)).join("");
  console.log(line(HEAD));
  for (const sizes of SHAPES) console.log(line(measure(device, pools, sizes)));
}
