/**
 * Hopper's ternary product (gemm_ternary_sm90.cu) around the edges of its tiles, beside the CPU build and, with TITANBIT_NO_WGMMA=1,
 * the kernels of other cards. On a card without wgmma both rounds take the latter.
 */

import type { Device } from "../../../lib/ffi/device.ts";
import { gemmTernaryForward } from "../../../lib/kernels/gemm_ternary.ts";
import { fromBfloat16, toBfloat16 } from "../../support/bfloat16.ts";
import { assertSame } from "../../support/compare.ts";
import { hasCuda, onCuda, openCpu } from "../../support/devices.ts";
import { type Random, withRandom } from "../../support/random.ts";
import { GuardedMemory } from "../../support/sentinel.ts";
import type { ForwardInputs, Sizes } from "./reference.ts";

const ignore = !hasCuda();

/** No residual, one beside y, or y itself. */
const RESIDUALS = ["none", "apart", "y"] as const;
type Residual = typeof RESIDUALS[number];

function inputsOf(random: Random, { M, N, K }: Sizes): Required<ForwardInputs> {
  return {
    x: random.int8s(M * K),
    xScale: random.normals(M, 0.01),
    w: random.int8s(N * K, -1, 1),
    wScale: random.normals(N, 0.02),
    // As bfloat16 holds them, so that one product of the CPU serves both dtypes.
    residual: fromBfloat16(toBfloat16(random.normals(M * N))),
  };
}

/** y between sentinels, as float32 or as the bits of bfloat16. */
function forward(
  device: Device,
  inputs: ForwardInputs,
  { M, N, K }: Sizes,
  { dtype, residual }: { dtype: "float32" | "bfloat16"; residual: Residual },
): Float32Array | Uint16Array {
  using memory = new GuardedMemory(device);
  const others = dtype === "float32" ? inputs.residual! : toBfloat16(inputs.residual!);
  const y = residual === "y"
    ? memory.inout("y", [M, N], others)
    : memory.output("y", dtype, [M, N]);
  gemmTernaryForward({
    x: memory.input("x", [M, K], inputs.x),
    xScale: memory.input("xScale", [M], inputs.xScale),
    w: memory.input("w", [N, K], inputs.w),
    wScale: memory.input("wScale", [N], inputs.wScale),
    residual: residual === "y"
      ? y
      : residual === "apart"
      ? memory.input("residual", [M, N], others)
      : null,
    y,
  });
  memory.check();
  return dtype === "float32" ? y.toFloat32Array() : y.download(new Uint16Array(M * N));
}

/** Both dtypes, with some of the kinds of residual, equal the CPU's. */
function assertEqualsCpu(
  inputs: ForwardInputs,
  sizes: Sizes,
  residuals: readonly Residual[] = RESIDUALS,
) {
  using cpu = openCpu();
  const { M, N, K } = sizes;
  for (const residual of residuals) {
    const expected = forward(cpu, inputs, sizes, { dtype: "float32", residual }) as Float32Array;
    onCuda((device) => {
      for (const dtype of ["float32", "bfloat16"] as const) {
        assertSame({
          name: `y of ${M} x ${N} x ${K} in ${dtype}, residual ${residual}`,
          actual: forward(device, inputs, sizes, { dtype, residual }),
          expected: dtype === "float32" ? expected : toBfloat16(expected),
          shape: [M, N],
        });
      }
    }, { wgmma: true });
  }
}

Deno.test({
  name: "gemmTernaryForward() equals the CPU's to the last bit when sizes are a tile's and one off",
  ignore,
  fn: withRandom((random) => {
    let turn = 0;
    for (const M of [17, 63, 64, 65, 127, 128, 129, 255, 256, 257]) {
      for (const N of [8, 24, 32, 40, 63, 64, 65, 127, 128, 129, 160, 255, 256, 257, 288]) {
        const sizes = { M, N, K: [16, 48, 112, 128, 144][turn % 5]! };
        assertEqualsCpu(inputsOf(random, sizes), sizes, [RESIDUALS[turn++ % 3]!]);
      }
    }
  }),
});

Deno.test({
  name:
    "gemmTernaryForward() equals the CPU's to the last bit when blocks of a card take tiles in turn",
  ignore,
  fn: withRandom((random) => {
    const shapes = [
      { M: 300, N: 352, K: 2048 },
      { M: 513, N: 256, K: 5632 },
      { M: 300, N: 5632, K: 512 },
      { M: 4097, N: 2304, K: 144 },
      { M: 1300, N: 1160, K: 128 }, // columns that fit no packs
      { M: 300, N: 3200, K: 768 },
    ];
    for (const sizes of shapes) assertEqualsCpu(inputsOf(random, sizes), sizes);
  }),
});

Deno.test({
  name:
    "gemmTernaryForward() equals the CPU's when activations are -128 and 127, and weights 0 or 1",
  ignore,
  fn: withRandom((random) => {
    const sizes = { M: 300, N: 288, K: 2048 };
    const inputs = inputsOf(random, sizes);
    for (const activation of [-128, 127]) {
      for (const weight of [0, 1]) {
        inputs.x.fill(activation);
        inputs.w.fill(weight);
        assertEqualsCpu(inputs, sizes, ["none", "apart"]);
      }
    }
  }),
});
