/**
 * Hopper's ternary product (gemm_ternary_sm90.cu) around the edges of its tiles, from int8 and from 2-bit weights, beside the oracle and,
 * with TITANBIT_NO_WGMMA=1, the kernels of other cards. On a card without wgmma both rounds take the latter.
 */

import { hasCuda } from "../../support/devices.ts";
import { withRandom } from "../../support/random.ts";
import { assertExact, inputsOf, RESIDUALS } from "./run.ts";

const ignore = !hasCuda();

Deno.test({
  name: "gemmTernaryForward() is exact when sizes are a tile's and one off",
  ignore,
  fn: withRandom((random) => {
    let turn = 0;
    for (const M of [17, 63, 64, 65, 127, 128, 129, 255, 256, 257]) {
      for (const N of [8, 24, 32, 40, 63, 64, 65, 127, 128, 129, 160, 255, 256, 257, 288]) {
        const sizes = { M, N, K: [16, 48, 112, 128, 144][turn % 5]! };
        const residuals = [RESIDUALS[turn++ % 3]!];
        assertExact(inputsOf(random, sizes), sizes, { weights: "int8", residuals });
      }
    }
  }),
});

Deno.test({
  name: "gemmTernaryForward() is exact when blocks of a card take tiles in turn",
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
    for (const sizes of shapes) {
      const inputs = inputsOf(random, sizes);
      for (const weights of ["int8", "packed"] as const) assertExact(inputs, sizes, { weights });
    }
  }),
});

Deno.test({
  name: "gemmTernaryForward() is exact when activations are -128 and 127, and weights 0 or 1",
  ignore,
  fn: withRandom((random) => {
    const sizes = { M: 300, N: 288, K: 2048 };
    const inputs = inputsOf(random, sizes);
    for (const activation of [-128, 127]) {
      for (const weight of [0, 1]) {
        inputs.x.fill(activation);
        inputs.w.fill(weight);
        for (const weights of ["int8", "packed"] as const) {
          assertExact(inputs, sizes, { weights, residuals: ["none", "apart"] });
        }
      }
    }
  }),
});

Deno.test({
  name: "gemmTernaryPackedForward() is exact when rows are those of a prefill and one off",
  ignore,
  fn: withRandom((random) => {
    let turn = 0;
    for (const M of [65, 128, 129, 255, 256, 257, 384, 511]) {
      for (const N of [1, 32, 40, 129, 256, 288]) {
        const sizes = { M, N, K: [64, 16, 128, 192, 100, 448, 144][turn % 7]! };
        const residuals = [RESIDUALS[turn++ % 3]!];
        assertExact(inputsOf(random, sizes), sizes, { weights: "packed", residuals });
      }
    }
  }),
});
