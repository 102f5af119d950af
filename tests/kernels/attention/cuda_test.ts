import { assertThrows } from "@std/assert";
import type { Device } from "../../../lib/ffi/device.ts";
import { NativeError } from "../../../lib/ffi/errors.ts";
import { roundToBfloat16 } from "../../support/bfloat16.ts";
import { assertAsGoodAsPlain, assertSameBits, largestMagnitude } from "../../support/compare.ts";
import { hasCuda, openCuda } from "../../support/devices.ts";
import { type Random, withRandom } from "../../support/random.ts";
import { exact, single } from "../../support/round.ts";
import { DECODING_CASES, TILE_CASES, TILE_DECODING_CASES, TRAINING_CASES } from "./cases.ts";
import { attention, attentionGradients } from "./reference.ts";
import {
  type Activation,
  inputsOf,
  poisonUnseen,
  runBackward,
  runDecode,
  runForward,
} from "./run.ts";

const found = hasCuda();

/** A test on the first card; where there is none, its name says so. */
function cudaTest(name: string, body: (device: Device, random: Random) => void): void {
  Deno.test({
    name: found ? `cuda: ${name}` : `cuda: no device found, skipped: ${name}`,
    ignore: !found,
    fn: withRandom((random) => {
      using device = openCuda();
      body(device, random);
    }),
  });
}

/** What a plain version rounds, and how far from twice its error one may be: see attention_test.ts, and half an ulp. */
const RULES = {
  float32: { round: single, store: exact, floor: 16 * 2 ** -24 },
  bfloat16: { round: exact, store: roundToBfloat16, floor: 2 ** -9 },
};
const DTYPES: readonly Activation[] = ["float32", "bfloat16"];

for (const dtype of DTYPES) {
  const { round, store, floor } = RULES[dtype];
  const training = dtype === "float32" ? TRAINING_CASES : TILE_CASES;
  const decoding = dtype === "float32" ? DECODING_CASES : TILE_DECODING_CASES;

  cudaTest(`attentionForward() of ${dtype} agrees with the definition`, (device, random) => {
    for (const shape of training) {
      const inputs = inputsOf(shape, random, { dtype });
      const expected = attention(inputs, shape);
      const plain = attention(inputs, shape, round, store);
      const actual = runForward(device, shape, inputs, dtype);
      assertAsGoodAsPlain({
        name: `o of ${JSON.stringify(shape)}`,
        actual: actual.o,
        expected: expected.o,
        plain: plain.o,
        floor,
      });
      assertAsGoodAsPlain({
        name: `lse of ${JSON.stringify(shape)}`,
        actual: actual.lse,
        expected: expected.lse,
        plain: attention(inputs, shape, single).lse,
        floor: 16 * 2 ** -24,
        magnitude: Math.max(1, largestMagnitude(expected.lse)),
      });
    }
  });

  cudaTest(`attentionForward() of ${dtype} holds when scores reach hundreds`, (device, random) => {
    const shape = { B: 1, T: 100, H: 2, G: 1, E: 64 };
    const inputs = inputsOf(shape, random, { std: 6, dtype });
    assertAsGoodAsPlain({
      name: "o",
      actual: runForward(device, shape, inputs, dtype).o,
      expected: attention(inputs, shape).o,
      plain: attention(inputs, shape, single, store).o,
      floor: Math.max(floor, 2 ** -14), // exponents of hundreds, in float32
    });
  });

  cudaTest(
    `attentionForward() of ${dtype} passes NaN to the rows that see it`,
    (device, random) => {
      const shape = { B: 1, T: 150, H: 1, G: 1, E: 64 };
      const inputs = inputsOf(shape, random, { dtype });
      inputs.k[66 * 64 + 3] = NaN;
      const { o } = runForward(device, shape, inputs, dtype);
      const rows = Array.from({ length: 150 }, (_, t) => Number.isNaN(o[t * 64]));
      if (rows.slice(0, 64).some((bad) => bad) || !rows.slice(66).every((bad) => bad)) {
        throw new Error(`rows with NaN: ${rows.map(Number).join("")}`);
      }
    },
  );

  cudaTest(`attentionBackward() of ${dtype} agrees with the chain rule`, (device, random) => {
    for (const shape of training) {
      const inputs = inputsOf(shape, random, { dtype });
      const expected = attentionGradients(inputs, inputs.dout, shape);
      const plain = attentionGradients(inputs, inputs.dout, shape, round, store);
      const actual = runBackward(device, shape, inputs, dtype);
      for (const name of ["dq", "dk", "dv"] as const) {
        assertAsGoodAsPlain({
          name: `${name} of ${JSON.stringify(shape)}`,
          actual: actual[name],
          expected: expected[name],
          plain: plain[name],
          floor: 2 * floor,
          // Of one token, dq and dk are 0: what cancels in them is of the order of 1.
          magnitude: Math.max(1, largestMagnitude(expected[name])),
        });
      }
    }
  });

  cudaTest(`attentionBackward() of ${dtype} gives the same bits twice`, (device, random) => {
    for (const E of [64, 100, 20]) {
      const shape = { B: 2, T: 300, H: 4, G: 2, E };
      const inputs = inputsOf(shape, random, { dtype });
      const first = runBackward(device, shape, inputs, dtype);
      const second = runBackward(device, shape, inputs, dtype);
      for (const name of ["dq", "dk", "dv"] as const) {
        assertSameBits({ name: `${name} of E ${E}`, actual: second[name], expected: first[name] });
      }
    }
  });

  cudaTest(
    `attentionDecode() of ${dtype} agrees with the definition and reads nothing beyond each end`,
    (device, random) => {
      for (const shape of decoding) {
        const inputs = inputsOf(shape, random, { dtype });
        const expected = attention(inputs, shape);
        const plain = attention(inputs, shape, round, store);
        poisonUnseen(shape, inputs);
        assertAsGoodAsPlain({
          name: `o of ${JSON.stringify(shape)}`,
          actual: runDecode(device, shape, inputs, dtype),
          expected: expected.o,
          plain: plain.o,
          floor,
        });
      }
    },
  );

  for (const T of [2, 20]) {
    cudaTest(
      `attentionDecode() of ${dtype} gives NaN when ${T} tokens outgrow the cache`,
      (device, random) => {
        const shape = { B: 2, T, H: 2, G: 1, E: 64, capacity: 300, start: [300 - T + 1, 10] };
        const inputs = inputsOf(shape, random, { dtype });
        const o = runDecode(device, shape, inputs, dtype);
        const half = o.length / 2;
        if (!o.subarray(0, half).every(Number.isNaN) || o.subarray(half).some(Number.isNaN)) {
          throw new Error("the first sequence, and it alone, should be NaN");
        }
      },
    );
  }
}

cudaTest(
  "attentionForward() refuses when the key heads do not divide the query heads",
  (device, random) => {
    const shape = { B: 1, T: 2, H: 3, G: 2, E: 64 };
    assertThrows(
      () => runForward(device, shape, inputsOf(shape, random)),
      NativeError,
      "G must divide H",
    );
  },
);

cudaTest("attentionForward() refuses when a head is wider than 256", (device, random) => {
  const shape = { B: 1, T: 2, H: 1, G: 1, E: 258 };
  assertThrows(
    () => runForward(device, shape, inputsOf(shape, random)),
    NativeError,
    "E must be 1 to 256",
  );
});
