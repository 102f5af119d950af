/**
 * How fast the card multiplies: `deno run -A tests/kernels/gemm_ternary/gemm_ternary_bench.ts`.
 *
 * For the projections of the shipped sizes: the ternary forward product from int8 and from 2-bit weights, both gradients, and the
 * dense bfloat16 product of the same shape, with cuBLASLt and Hopper's kernel (where the card has it), and without either. Times
 * are of a graph of several launches between two events, median of the rounds; inputs are random. With the argument `forward` only the
 * int8 and the dense product.
 */

import { Device } from "../../../lib/ffi/device.ts";
import { DeviceEvent } from "../../../lib/ffi/event.ts";
import { Graph } from "../../../lib/ffi/graph.ts";
import { gemm } from "../../../lib/kernels/gemm.ts";
import {
  gemmTernaryBackwardInput,
  gemmTernaryBackwardWeight,
  gemmTernaryForward,
  gemmTernaryPackedForward,
} from "../../../lib/kernels/gemm_ternary.ts";
import { packedWidth, packTernary } from "../../../lib/kernels/pack_ternary.ts";
import { Arena } from "../../../lib/tensor/arena.ts";
import type { DType } from "../../../lib/tensor/dtype.ts";
import { toBfloat16 } from "../../support/bfloat16.ts";
import { Random } from "../../support/random.ts";

const LAUNCHES = 10;
const ROUNDS = 5;

/**
 * Rows, outputs and inputs of products: gate and up, down of 1.3B; down of 3B turned around; a small one; q, k, v, gate and up, down
 * of 125M; q, k, v and o of 1.3B, with more rows too; down of 3B; few rows, decoding.
 */
const SHAPES = [
  { M: 16384, N: 11264, K: 2048 },
  { M: 16384, N: 2048, K: 5632 },
  { M: 16384, N: 8704, K: 3200 },
  { M: 2048, N: 2048, K: 2048 },
  { M: 65536, N: 2304, K: 768 },
  { M: 65536, N: 5120, K: 768 },
  { M: 65536, N: 768, K: 2560 },
  { M: 32768, N: 6144, K: 2048 },
  { M: 32768, N: 2048, K: 2048 },
  { M: 32768, N: 11264, K: 2048 },
  { M: 32768, N: 2048, K: 5632 },
  { M: 8192, N: 3200, K: 8704 },
  { M: 512, N: 6144, K: 2048 },
  { M: 16, N: 11264, K: 2048 },
  { M: 1, N: 11264, K: 2048 },
  { M: 1, N: 2048, K: 5632 },
];

/** Milliseconds of one launch. */
function time(device: Device, run: () => void): number {
  run();
  using graph = Graph.record(device, () => {
    for (let i = 0; i < LAUNCHES; i++) run();
  });
  using before = new DeviceEvent(device);
  using after = new DeviceEvent(device);
  graph.launch();
  const rounds = Array.from({ length: ROUNDS }, () => {
    before.record();
    graph.launch();
    after.record();
    return after.millisecondsSince(before) / LAUNCHES;
  });
  return rounds.sort((a, b) => a - b)[Math.floor(ROUNDS / 2)]!;
}

function measure(
  device: Device,
  { M, N, K }: typeof SHAPES[number],
  options: { forward: boolean },
): Record<string, number> {
  const random = new Random(1);
  using arena = new Arena("operands");
  const plan = (name: string, dtype: DType, ...shape: number[]) => arena.tensor(name, dtype, shape);
  const x = plan("x", "int8", M, K), xScale = plan("xScale", "float32", M);
  const w = plan("w", "int8", N, K), wScale = plan("wScale", "float32", N);
  const packed = plan("packed", "int32", N, packedWidth(K));
  const x16 = plan("x16", "bfloat16", M, K), w16 = plan("w16", "bfloat16", N, K);
  const y = plan("y", "bfloat16", M, N), y32 = plan("y32", "float32", M, N);
  const dy = plan("dy", "bfloat16", M, N), dw = plan("dw", "float32", N, K);
  arena.commit(device);
  // Values repeat after a prime number: as good as random for a product, and made at once.
  const repeated = <A extends Int8Array<ArrayBuffer> | Uint16Array<ArrayBuffer>>(
    to: A,
    period: A,
  ) => {
    for (let at = 0; at < to.length; at += period.length) {
      to.set(period.subarray(0, Math.min(period.length, to.length - at)), at);
    }
    return to;
  };
  const normals = toBfloat16(random.normals(100_003));
  x.upload(repeated(new Int8Array(x.length), random.int8s(100_003)));
  w.upload(repeated(new Int8Array(w.length), random.int8s(100_003, -1, 1)));
  for (const tensor of [x16, w16, dy]) {
    tensor.upload(repeated(new Uint16Array(tensor.length), normals));
  }
  xScale.upload(random.normals(M, 0.01));
  wScale.upload(random.normals(N, 0.02));
  packTernary({ q: w, packed });
  const forward = { x, xScale, wScale };
  const products = {
    int8: time(device, () => gemmTernaryForward({ ...forward, w, y })),
    "int8, f32 + residual": time(
      device,
      () => gemmTernaryForward({ ...forward, w, residual: y32, y: y32 }),
    ),
    bf16: time(device, () => gemm({ a: x16, b: w16, c: y, transposeB: true })),
  };
  if (options.forward) return products;
  return {
    ...products,
    "2-bit": time(device, () => gemmTernaryPackedForward({ ...forward, packed, y })),
    dx: time(device, () => gemmTernaryBackwardInput({ dy, w, wScale, dx: x16 })),
    dw: time(device, () => gemmTernaryBackwardWeight({ dy, x, xScale, dw, accumulate: true })),
  };
}

if (import.meta.main) {
  const options = { forward: Deno.args.includes("forward") };
  for (const own of [false, true]) {
    Deno.env.set("TITANBIT_NO_CUBLAS", own ? "1" : "0");
    Deno.env.set("TITANBIT_NO_WGMMA", own ? "1" : "0");
    using device = Device.open({ kind: "cuda" });
    console.log(
      `${device.description.name}${own ? ", without cuBLAS and wgmma" : ""}: us (TFLOP/s or TOP/s)`,
    );
    for (const shape of SHAPES) {
      const { M, N, K } = shape;
      const columns = Object.entries(measure(device, shape, options)).map(([name, milliseconds]) =>
        `${name} ${(milliseconds * 1000).toFixed(1)} (${
          (2 * M * N * K / milliseconds / 1e9).toFixed(1)
        })`
      );
      console.log(`${M} x ${N} x ${K}: ${columns.join("; ")}`);
    }
  }
}
