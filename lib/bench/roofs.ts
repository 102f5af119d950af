/**
 * What a device can do at most: its memory's rate, measured in the same run, and the published peaks of its arithmetic.
 *
 * @module
 */

import type { Device } from "../ffi/device.ts";
import { findPeakOps, type PeakOps } from "../metrics/peak_ops.ts";
import { timeLaunches } from "./launch_timing.ts";

/** The limits of a device. */
export interface Roofs {
  /** Bytes read and written by a copy, a second: what kernels are held to. A kernel that mostly reads can be a little faster. */
  readonly memoryBytesPerS: number;
  /** Published dense peaks; null for a CPU or an unknown card. */
  readonly peak: PeakOps | null;
}

/** Which peak an op's arithmetic is held to. */
export type Arithmetic = "int8" | "fp8" | "bf16";

/** Where an op's limit lies, and its shortest time there. */
export interface Limit {
  readonly by: "memory" | "compute";
  /** Microseconds. */
  readonly us: number;
}

/** Measures the memory by a copy of `bytes` from one place to another. */
export function findRoofs(device: Device, options: { bytes: number; repeat: number }): Roofs {
  const { bytes, repeat } = options;
  const from = device.alloc(bytes);
  try {
    const to = device.alloc(bytes);
    try {
      device.fill(from, 1, bytes);
      const copy = { name: "copy", runs: [() => device.copy(to, from, bytes)] };
      const [timing] = timeLaunches(device, [copy], { repeat });
      return {
        memoryBytesPerS: 2 * bytes / timing!.us_q1 * 1e6,
        peak: device.backend === "cuda" ? findPeakOps(device.description.name) : null,
      };
    } finally {
      device.free(to);
    }
  } finally {
    device.free(from);
  }
}

/** The higher of both roofs' times for this much work; null where the card's peak isn't known. */
export function limitOf(
  roofs: Roofs,
  work: { operations: number; bytes: number; arithmetic: Arithmetic },
): Limit | null {
  const peak = roofs.peak?.[work.arithmetic] ?? null;
  if (peak === null) return null;
  const memory = 1e6 * work.bytes / roofs.memoryBytesPerS;
  const compute = 1e6 * work.operations / peak;
  return memory > compute ? { by: "memory", us: memory } : { by: "compute", us: compute };
}
