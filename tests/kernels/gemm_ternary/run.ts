/** The forward product of one device beside what it must be, to the last bit. */

import type { Device } from "../../../lib/ffi/device.ts";
import { gemmTernaryForward, gemmTernaryPackedForward } from "../../../lib/kernels/gemm_ternary.ts";
import { packedWidth, packTernary } from "../../../lib/kernels/pack_ternary.ts";
import { fromBfloat16, toBfloat16 } from "../../support/bfloat16.ts";
import { assertSame } from "../../support/compare.ts";
import { onCuda, openCpu } from "../../support/devices.ts";
import type { Random } from "../../support/random.ts";
import { GuardedMemory } from "../../support/sentinel.ts";
import { pack } from "../pack_ternary/reference.ts";
import { forwardBits, type ForwardInputs, type Sizes } from "./reference.ts";

/** No residual, one beside y, or y itself. */
export const RESIDUALS = ["none", "apart", "y"] as const;
export type Residual = typeof RESIDUALS[number];

export type Weights = "int8" | "packed";

/** Values made one by one; what is longer repeats them. */
const MOST_FRESH = 1 << 22;
/** Multiplications that the oracle takes; beyond them the CPU build stands in. */
const MOST_OF_ORACLE = 1 << 26;

/** `n` int8; long ones repeat after a prime number: as good as random for a product, and made at once. */
export function repeated(
  random: Random,
  n: number,
  low: number,
  high: number,
): Int8Array<ArrayBuffer> {
  if (n <= MOST_FRESH) return random.int8s(n, low, high);
  const period = random.int8s(1_000_003, low, high);
  const values = new Int8Array(n);
  for (let at = 0; at < n; at += period.length) {
    values.set(period.subarray(0, Math.min(period.length, n - at)), at);
  }
  return values;
}

export function inputsOf(random: Random, { M, N, K }: Sizes): Required<ForwardInputs> {
  return {
    x: repeated(random, M * K, -128, 127),
    xScale: random.normals(M, 0.01),
    w: repeated(random, N * K, -1, 1),
    wScale: random.normals(N, 0.02),
    // As bfloat16 holds them, so that one product of the oracle serves both dtypes.
    residual: fromBfloat16(toBfloat16(random.normals(M * N))),
  };
}

interface Case {
  weights: Weights;
  dtype: "float32" | "bfloat16";
  residual: Residual;
}

/** y between sentinels, as float32 or as the bits of bfloat16. */
export function forward(
  device: Device,
  inputs: ForwardInputs,
  { M, N, K }: Sizes,
  { weights, dtype, residual }: Case,
): Float32Array | Uint16Array {
  using memory = new GuardedMemory(device);
  const others = dtype === "float32" ? inputs.residual! : toBfloat16(inputs.residual!);
  const y = residual === "y"
    ? memory.inout("y", [M, N], others)
    : memory.output("y", dtype, [M, N]);
  const operands = {
    x: memory.input("x", [M, K], inputs.x),
    xScale: memory.input("xScale", [M], inputs.xScale),
    wScale: memory.input("wScale", [N], inputs.wScale),
    residual: residual === "y"
      ? y
      : residual === "apart"
      ? memory.input("residual", [M, N], others)
      : null,
    y,
  };
  if (weights === "int8") {
    gemmTernaryForward({ ...operands, w: memory.input("w", [N, K], inputs.w) });
  } else if (N * K <= MOST_FRESH) {
    const packed = memory.input("packed", [N, packedWidth(K)], pack(inputs.w, N, K));
    gemmTernaryPackedForward({ ...operands, packed });
  } else {
    const packed = memory.output("packed", "int32", [N, packedWidth(K)]);
    packTernary({ q: memory.input("w", [N, K], inputs.w), packed });
    gemmTernaryPackedForward({ ...operands, packed });
  }
  memory.check();
  return dtype === "float32" ? y.toFloat32Array() : y.download(new Uint16Array(M * N));
}

function expectedOf(inputs: ForwardInputs, sizes: Sizes, residual: Residual): Float32Array {
  if (sizes.M * sizes.N * sizes.K <= MOST_OF_ORACLE) {
    return forwardBits(residual === "none" ? { ...inputs, residual: null } : inputs, sizes);
  }
  using cpu = openCpu();
  return forward(cpu, inputs, sizes, {
    weights: "int8",
    dtype: "float32",
    residual,
  }) as Float32Array;
}

/** On the card, both dtypes with some of the kinds of residual equal the oracle, with the newest kernels and without them. */
export function assertExact(
  inputs: ForwardInputs,
  sizes: Sizes,
  { weights, residuals = RESIDUALS }: { weights: Weights; residuals?: readonly Residual[] },
): void {
  const { M, N, K } = sizes;
  for (const residual of residuals) {
    const expected = expectedOf(inputs, sizes, residual);
    onCuda((device) => {
      for (const dtype of ["float32", "bfloat16"] as const) {
        assertSame({
          name: `y of ${M} x ${N} x ${K} from ${weights} in ${dtype}, residual ${residual}`,
          actual: forward(device, inputs, sizes, { weights, dtype, residual }),
          expected: dtype === "float32" ? expected : toBfloat16(expected),
          shape: [M, N],
        });
      }
    }, { wgmma: true, packed: weights === "packed" });
  }
}
