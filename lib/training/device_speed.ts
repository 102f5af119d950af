/**
 * How fast a device multiplies matrices, measured in a fraction of a second: what an estimate of a run's time
 * stands on.
 *
 * @module
 */

import type { Device } from "../ffi/device.ts";
import { gemm } from "../kernels/gemm.ts";
import { gemmTernaryForward } from "../kernels/gemm_ternary.ts";
import { Arena } from "../tensor/arena.ts";

/** Measured rates of the two products that training is made of. */
export interface DeviceSpeed {
  /** int8 activations by ternary weights, op/s (a multiply-add is 2). */
  readonly ternary: number;
  /** Floating-point product of the device's activation dtype, FLOP/s. */
  readonly dense: number;
  /** Rows, columns and depth that were multiplied. */
  readonly shape: readonly [M: number, N: number, K: number];
}

/** Large enough to leave caches and launches behind, small enough for a moment of a CPU. */
const SHAPES = { cpu: [512, 2048, 1024], cuda: [8192, 8192, 4096] } as const;

/**
 * Times both products on zeros (the time of neither depends on the values), taking the fastest of the runs that
 * fit into `budgetMs` each, after one that isn't counted.
 */
export function measureDeviceSpeed(
  device: Device,
  options: { budgetMs?: number } = {},
): DeviceSpeed {
  const { budgetMs = 150 } = options;
  const shape = SHAPES[device.backend];
  const [M, N, K] = shape;
  const dtype = device.activationDtype;
  using arena = new Arena("speed measurement");
  const a = arena.tensor("a", dtype, [M, K]);
  const b = arena.tensor("b", dtype, [K, N]);
  const c = arena.tensor("c", dtype, [M, N]);
  const x = arena.tensor("x", "int8", [M, K]);
  const xScale = arena.tensor("x.scale", "float32", [M]);
  const w = arena.tensor("w", "int8", [N, K]);
  const wScale = arena.tensor("w.scale", "float32", [N]);
  arena.commit(device);
  const products = 2 * M * N * K;
  const fastest = (run: () => void) => (1000 * products) / fastestMs(run, { device, budgetMs });
  return {
    ternary: fastest(() => gemmTernaryForward({ x, xScale, w, wScale, y: c })),
    dense: fastest(() => gemm({ a, b, c })),
    shape,
  };
}

/** Seconds that a training token's products take at these rates; everything between them comes on top. */
export function secondsPerToken(
  flops: { int8: number; bf16: number },
  speed: Pick<DeviceSpeed, "ternary" | "dense">,
): number {
  return flops.int8 / speed.ternary + flops.bf16 / speed.dense;
}

function fastestMs(run: () => void, options: { device: Device; budgetMs: number }): number {
  const { device, budgetMs } = options;
  let best = Infinity;
  let spent = 0;
  for (let round = 0; round === 0 || spent < budgetMs; round++) {
    const start = performance.now();
    run();
    device.synchronize();
    const ms = performance.now() - start;
    if (round === 0) continue;
    best = Math.min(best, ms);
    spent += ms;
  }
  return best;
}
