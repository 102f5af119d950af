/**
 * Few rows of 2-bit weights on the card (gemm_ternary_packed_rows.cu) beside the oracle and, with TITANBIT_NO_PACKED_ROWS=1, the kernels
 * that int8 weights take.
 */

import { gemmTernaryPackedForward } from "../../../lib/kernels/gemm_ternary.ts";
import { packedWidth } from "../../../lib/kernels/pack_ternary.ts";
import { assertEquals } from "@std/assert";
import { assertSameBits } from "../../support/compare.ts";
import { hasCuda, onCuda } from "../../support/devices.ts";
import { withRandom } from "../../support/random.ts";
import { GuardedMemory } from "../../support/sentinel.ts";
import { pack } from "../pack_ternary/reference.ts";
import { forwardBits } from "./reference.ts";
import { assertExact, inputsOf, RESIDUALS } from "./run.ts";

const ignore = !hasCuda();

Deno.test({
  name: "gemmTernaryPackedForward() is exact when rows, outputs and depth are a step's and one off",
  ignore,
  fn: withRandom((random) => {
    const rows = [
      1,
      2,
      3,
      4,
      5,
      6,
      7,
      8,
      9,
      10,
      11,
      12,
      13,
      14,
      15,
      16,
      17,
      31,
      32,
      33,
      63,
      64,
      65,
    ];
    const depths = [1, 15, 16, 17, 63, 64, 65, 100, 255, 256, 257, 320, 512, 1030, 2048, 2112];
    let turn = 0;
    for (const M of rows) {
      for (const N of [1, 15, 16, 17, 33, 130]) {
        const sizes = { M, N, K: depths[turn % depths.length]! };
        const residuals = [RESIDUALS[turn++ % 3]!];
        assertExact(inputsOf(random, sizes), sizes, { weights: "packed", residuals });
      }
      turn += 5; // the number of depths and that of outputs share a factor
    }
  }),
});

Deno.test({
  name: "gemmTernaryPackedForward() is exact when sizes are a model's",
  ignore,
  fn: withRandom((random) => {
    const shapes = [
      { M: 1, N: 20480, K: 3200 },
      { M: 1, N: 2048, K: 5632 },
      { M: 1, N: 2560, K: 2560 },
      { M: 3, N: 6144, K: 2048 },
      { M: 8, N: 2048, K: 8192 },
      { M: 11, N: 11264, K: 2048 },
      { M: 16, N: 8192, K: 8192 },
      { M: 33, N: 4101, K: 3200 },
      { M: 64, N: 2048, K: 5632 },
    ];
    for (const sizes of shapes) {
      assertExact(inputsOf(random, sizes), sizes, { weights: "packed", residuals: ["apart"] });
    }
  }),
});

// Rows of x that exceed shared memory are taken in slabs; a thin matrix has its depth divided among most warps.
Deno.test({
  name: "gemmTernaryPackedForward() is exact when x exceeds shared memory",
  ignore,
  fn: withRandom((random) => {
    const shapes = [
      { M: 1, N: 5, K: 131072 },
      { M: 2, N: 17, K: 131071 },
      { M: 16, N: 130, K: 20480 },
      { M: 29, N: 40, K: 16640 },
      { M: 64, N: 3, K: 131072 },
      { M: 64, N: 4100, K: 4096 },
      { M: 63, N: 33, K: 8200 },
    ];
    for (const sizes of shapes) {
      assertExact(inputsOf(random, sizes), sizes, { weights: "packed", residuals: ["none"] });
    }
  }),
});

Deno.test({
  name:
    "gemmTernaryPackedForward() is exact when activations are -128 or 127 and all weights are the same",
  ignore,
  fn: withRandom((random) => {
    for (
      const sizes of [{ M: 1, N: 18, K: 131072 }, { M: 16, N: 33, K: 4160 }, {
        M: 64,
        N: 17,
        K: 2100,
      }]
    ) {
      const inputs = inputsOf(random, sizes);
      for (const activation of [-128, 127]) {
        for (const weight of [-1, 0, 1]) {
          inputs.x.fill(activation);
          inputs.w.fill(weight);
          assertExact(inputs, sizes, { weights: "packed", residuals: ["none"] });
        }
      }
    }
  }),
});

Deno.test({
  name: "gemmTernaryPackedForward() gives the same bits when operands begin at odd addresses",
  ignore,
  fn: withRandom((random) => {
    for (const M of [1, 13, 40, 70]) {
      const sizes = { M, N: 40, K: 320 };
      const { N, K } = sizes;
      const inputs = inputsOf(random, sizes);
      const words = pack(inputs.w, N, K), expected = forwardBits(inputs, sizes);
      for (const [xOffset, wordOffset] of [[3, 0], [0, 1], [1, 3]] as const) {
        onCuda((device) => {
          using memory = new GuardedMemory(device);
          const shiftedX = new Int8Array(M * K + xOffset);
          shiftedX.set(inputs.x, xOffset);
          const shiftedWords = new Int32Array(words.length + wordOffset);
          shiftedWords.set(words, wordOffset);
          const y = memory.inout("y", [M * N + 1], new Float32Array(M * N + 1).fill(NaN));
          gemmTernaryPackedForward({
            x: memory.input("x", [shiftedX.length], shiftedX).view([M, K], { offset: xOffset }),
            packed: memory.input("packed", [shiftedWords.length], shiftedWords)
              .view([N, packedWidth(K)], { offset: wordOffset }),
            xScale: memory.input("xScale", [M], inputs.xScale),
            wScale: memory.input("wScale", [N], inputs.wScale),
            residual: memory.input("residual", [M, N], inputs.residual!),
            y: y.view([M, N], { offset: 1 }),
          });
          memory.check();
          assertSameBits({
            name: `y of ${M} rows, x from byte ${xOffset}, codes from word ${wordOffset}`,
            actual: y.toFloat32Array().subarray(1),
            expected,
          });
        }, { packed: true });
      }
    }
  }),
});

Deno.test({
  name: "gemmTernaryPackedForward() lets a NaN scale reach its row and column, and no others",
  ignore,
  fn: withRandom((random) => {
    for (const M of [4, 14, 60]) {
      const sizes = { M, N: 21, K: 640 };
      const inputs = { ...inputsOf(random, sizes), residual: null };
      inputs.xScale[2] = NaN;
      inputs.wScale[20] = Infinity;
      inputs.w.fill(1, 20 * sizes.K); // the sums of a column times infinity: not 0
      inputs.x.fill(1);
      const expected = forwardBits(inputs, sizes);
      onCuda((device) => {
        using memory = new GuardedMemory(device);
        const y = memory.output("y", "float32", [M, 21]);
        gemmTernaryPackedForward({
          x: memory.input("x", [M, 640], inputs.x),
          packed: memory.input("packed", [21, 40], pack(inputs.w, 21, 640)),
          xScale: memory.input("xScale", [M], inputs.xScale),
          wScale: memory.input("wScale", [21], inputs.wScale),
          y,
        });
        memory.check();
        const kind = (value: number) => Number.isNaN(value) ? "NaN" : value;
        assertEquals(Array.from(y.toFloat32Array(), kind), Array.from(expected, kind));
      });
    }
  }),
});
