/**
 * Hopper's attention (attention_forward_sm90.cu, attention_backward_sm90.cu) around the edges of its tiles, beside the definition and,
 * with TITANBIT_NO_WGMMA=1, the kernels of other cards. On a card without wgmma both rounds take the latter; so do odd T and H with
 * heads of 100.
 *
 * A kernel that the card stops takes the process's context with it, and every later test of the process: `--filter "heads of 128"` runs
 * one width alone. Heads of 100, whose copies are the most intricate, come last.
 */

import type { Device } from "../../../lib/ffi/device.ts";
import { roundToBfloat16 } from "../../support/bfloat16.ts";
import {
  assertAsGoodAsPlain,
  assertClose,
  assertSameBits,
  largestMagnitude,
} from "../../support/compare.ts";
import { hasCuda, onCuda } from "../../support/devices.ts";
import { type Random, withRandom } from "../../support/random.ts";
import { exact, single } from "../../support/round.ts";
import { attention, attentionGradients, type Shape } from "./reference.ts";
import { type Inputs, inputsOf, runBackward, runForward } from "./run.ts";

const ignore = !hasCuda();
const WIDTHS = [64, 128, 100];
const FLOOR = 2 ** -9; // half an ulp of bfloat16
const GRADIENTS = ["dq", "dk", "dv"] as const;

/** Outputs and gradients agree with the definition as well as a plain version that rounds what the kernels round. */
function assertAgrees(shape: Shape, random: Random): void {
  const inputs = inputsOf(shape, random, { dtype: "bfloat16" });
  const text = JSON.stringify(shape);
  const expected = attention(inputs, shape);
  const plain = attention(inputs, shape, exact, roundToBfloat16);
  const singleLse = attention(inputs, shape, single).lse;
  const gradients = attentionGradients(inputs, inputs.dout, shape);
  const plainGradients = attentionGradients(inputs, inputs.dout, shape, exact, roundToBfloat16);
  onCuda((device) => {
    const forward = runForward(device, shape, inputs, "bfloat16");
    assertAsGoodAsPlain({
      name: `o of ${text}`,
      actual: forward.o,
      expected: expected.o,
      plain: plain.o,
      floor: FLOOR,
    });
    assertAsGoodAsPlain({
      name: `lse of ${text}`,
      actual: forward.lse,
      expected: expected.lse,
      plain: singleLse,
      floor: 16 * 2 ** -24,
      magnitude: Math.max(1, largestMagnitude(expected.lse)),
    });
    const backward = runBackward(device, shape, inputs, "bfloat16");
    for (const name of GRADIENTS) {
      assertAsGoodAsPlain({
        name: `${name} of ${text}`,
        actual: backward[name],
        expected: gradients[name],
        plain: plainGradients[name],
        floor: 2 * FLOOR,
        magnitude: Math.max(1, largestMagnitude(gradients[name])), // of one token dq and dk cancel to 0
      });
    }
  }, { wgmma: true });
}

for (const E of WIDTHS) {
  Deno.test({
    name:
      `attention of heads of ${E} agrees with the definition when tokens are a tile's and one off`,
    ignore,
    fn: withRandom((random) => {
      const heads = [{ H: 2, G: 1 }, { H: 4, G: 2 }, { H: 2, G: 2 }, { H: 6, G: 2 }];
      [1, 2, 62, 63, 64, 65, 66, 127, 128, 129, 130, 192, 194, 257, 258].forEach((T, turn) => {
        assertAgrees({ B: 1 + turn % 3, T, ...heads[turn % heads.length]!, E }, random);
      });
    }),
  });

  Deno.test({
    name: `attention of heads of ${E} agrees with the definition over 1000 tokens`,
    ignore,
    fn: withRandom((random) => assertAgrees({ B: 1, T: 1000, H: 2, G: 1, E }, random)),
  });

  Deno.test({
    name: `attention of heads of ${E} passes NaN on to the rows that see it`,
    ignore,
    fn: withRandom((random) => {
      const shape = { B: 1, T: 250, H: 2, G: 1, E };
      const inputs = inputsOf(shape, random, { dtype: "bfloat16" });
      inputs.k[130 * E + 3] = NaN;
      onCuda((device) => {
        const { o, lse } = runForward(device, shape, inputs, "bfloat16");
        for (let h = 0; h < shape.H; h++) {
          for (let t = 0; t < shape.T; t++) {
            if (t >= 128 && t < 130) continue; // of the same block of keys
            const bad = [o[(t * shape.H + h) * E]!, lse[h * shape.T + t]!].map(Number.isNaN);
            if (bad.some((isBad) => isBad !== (t >= 130))) {
              throw new Error(`o and lse of head ${h}, query ${t} are NaN: ${bad}`);
            }
          }
        }
      }, { wgmma: true });
    }),
  });
}

/** Every output of both passes. */
function runBoth(device: Device, shape: Shape, inputs: Inputs) {
  return {
    ...runForward(device, shape, inputs, "bfloat16"),
    ...runBackward(device, shape, inputs, "bfloat16"),
  };
}

Deno.test({
  name:
    "attention gives the same bits twice, and what other kernels give, when blocks take tiles in turn",
  ignore,
  fn: withRandom((random) => {
    const shapes = [
      { B: 6, T: 1000, H: 12, G: 4, E: 64 },
      { B: 40, T: 70, H: 8, G: 8, E: 64 },
      { B: 5, T: 700, H: 10, G: 5, E: 128 },
      { B: 1, T: 4226, H: 2, G: 1, E: 64 }, // so many tokens that groups take turns in the backward pass
      { B: 3, T: 1022, H: 8, G: 8, E: 100 },
      { B: 12, T: 258, H: 18, G: 6, E: 100 },
    ];
    for (const shape of shapes) {
      const inputs = inputsOf(shape, random, { dtype: "bfloat16" });
      const runs: ReturnType<typeof runBoth>[] = [];
      onCuda((device) => {
        const [first, second] = [0, 1].map(() => runBoth(device, shape, inputs));
        for (const name of ["o", "lse", ...GRADIENTS] as const) {
          assertSameBits({
            name: `${name} of ${JSON.stringify(shape)}`,
            actual: second![name],
            expected: first![name],
          });
        }
        runs.push(first!);
      }, { wgmma: true });
      const [hopper, other] = runs;
      for (const name of ["o", "lse", ...GRADIENTS] as const) {
        assertClose({
          name: `${name} of ${JSON.stringify(shape)}`,
          actual: hopper![name],
          expected: other![name],
          absolute: (name === "lse" ? 32 * 2 ** -24 : 4 * FLOOR) * largestMagnitude(other![name]),
        });
      }
    }
  }),
});
