import { assertThrows } from "@std/assert";
import { NativeError } from "../../../lib/ffi/errors.ts";
import { roundToBfloat16 } from "../../support/bfloat16.ts";
import { assertAsGoodAsPlain, assertSameBits, largestMagnitude } from "../../support/compare.ts";
import { assertSameForThreads, onEveryIsa, openCpu } from "../../support/devices.ts";
import { assertGradient } from "../../support/gradient_check.ts";
import { Random, withRandom } from "../../support/random.ts";
import { single } from "../../support/round.ts";
import { DECODING_CASES, TRAINING_CASES } from "./cases.ts";
import { attention, attentionGradients } from "./reference.ts";
import { inputsOf, poisonUnseen, runBackward, runDecode, runForward } from "./run.ts";

// An exponent of a few units has an error of a few 2^-24, and so has the probability, whatever luck plain float32 has.
const FLOOR = 16 * 2 ** -24;

Deno.test(
  "attentionForward() agrees with the definition at awkward shapes",
  withRandom((random) => {
    for (const shape of TRAINING_CASES) {
      const inputs = inputsOf(shape, random);
      const expected = attention(inputs, shape);
      const plain = attention(inputs, shape, single);
      onEveryIsa((device) => {
        const actual = runForward(device, shape, inputs);
        for (const name of ["o", "lse"] as const) {
          assertAsGoodAsPlain({
            name: `${name} of ${JSON.stringify(shape)}`,
            actual: actual[name],
            expected: expected[name],
            plain: plain[name],
            floor: FLOOR,
          });
        }
      });
    }
  }),
);

Deno.test(
  "attentionForward() stays exact when scores reach hundreds",
  withRandom((random) => {
    const shape = { B: 1, T: 100, H: 2, G: 1, E: 16 };
    const inputs = inputsOf(shape, random, { std: 8 });
    const expected = attention(inputs, shape);
    const plain = attention(inputs, shape, single);
    onEveryIsa((device) => {
      const { o } = runForward(device, shape, inputs);
      assertAsGoodAsPlain({
        name: "o",
        actual: o,
        expected: expected.o,
        plain: plain.o,
        floor: 2 ** -17, // a score of hundreds is rounded by 2^-17 and more, a relative error of its exponential
      });
    });
  }),
);

Deno.test(
  "attentionForward() passes NaN on to the rows that see it when an input has one",
  withRandom((random) => {
    const shape = { B: 1, T: 70, H: 1, G: 1, E: 8 };
    const inputs = inputsOf(shape, random);
    inputs.k[66 * 8 + 3] = NaN;
    onEveryIsa((device) => {
      const { o } = runForward(device, shape, inputs);
      const rows = Array.from({ length: 70 }, (_, t) => Number.isNaN(o[t * 8]));
      if (rows.slice(0, 64).some((bad) => bad) || !rows.slice(66).every((bad) => bad)) {
        throw new Error(`rows with NaN: ${rows.map(Number).join("")}`);
      }
    });
  }),
);

Deno.test(
  "attentionForward() gives the same bits when threads differ",
  withRandom((random) => {
    const shape = { B: 2, T: 203, H: 4, G: 2, E: 36 };
    const inputs = inputsOf(shape, random);
    assertSameForThreads((device) => runForward(device, shape, inputs));
  }),
);

Deno.test(
  "attentionBackward() agrees with the chain rule at awkward shapes",
  withRandom((random) => {
    for (const shape of TRAINING_CASES) {
      const inputs = inputsOf(shape, random);
      const expected = attentionGradients(inputs, inputs.dout, shape);
      const plain = attentionGradients(inputs, inputs.dout, shape, single);
      onEveryIsa((device) => {
        const actual = runBackward(device, shape, inputs);
        for (const name of ["dq", "dk", "dv"] as const) {
          assertAsGoodAsPlain({
            name: `${name} of ${JSON.stringify(shape)}`,
            actual: actual[name],
            expected: expected[name],
            plain: plain[name],
            floor: 2 * FLOOR,
          });
        }
      });
    }
  }),
);

Deno.test(
  "attentionBackward() gives the gradient that finite differences of the definition give",
  withRandom((random) => {
    const shape = { B: 1, T: 70, H: 4, G: 2, E: 6 };
    const inputs = inputsOf(shape, random);
    using device = openCpu();
    const gradients = runBackward(device, shape, inputs);
    for (const name of ["q", "k", "v"] as const) {
      assertGradient({
        name,
        loss: (moved) => {
          const { o } = attention({ ...inputs, [name]: moved }, shape);
          return o.reduce((total, value, i) => total + value * inputs.dout[i]!, 0);
        },
        at: Float64Array.from(inputs[name]),
        gradient: gradients[`d${name}`],
        random,
        samples: 8,
        tolerance: 1e-5, // float32 gradients
      });
    }
  }),
);

Deno.test(
  "attentionBackward() gives the same bits when threads outnumber the groups or not",
  withRandom((random) => {
    for (
      const shape of [{ B: 2, T: 150, H: 4, G: 2, E: 20 }, { B: 1, T: 150, H: 2, G: 1, E: 20 }]
    ) {
      const inputs = inputsOf(shape, random);
      assertSameForThreads((device) => runBackward(device, shape, inputs));
    }
  }),
);

Deno.test(
  "attentionDecode() agrees with the definition and reads nothing beyond each sequence's end",
  withRandom((random) => {
    for (const shape of DECODING_CASES) {
      const inputs = inputsOf(shape, random);
      const expected = attention(inputs, shape);
      const plain = attention(inputs, shape, single);
      poisonUnseen(shape, inputs);
      onEveryIsa((device) => {
        assertAsGoodAsPlain({
          name: `o of ${JSON.stringify(shape)}`,
          actual: runDecode(device, shape, inputs),
          expected: expected.o,
          plain: plain.o,
          floor: FLOOR,
          magnitude: Math.max(1, largestMagnitude(expected.o)), // the values of many tokens nearly cancel in their mean
        });
      });
    }
  }),
);

Deno.test(
  "attentionDecode() gives the same bits when threads split the cache or not",
  withRandom((random) => {
    const shape = { B: 1, T: 1, H: 4, G: 1, E: 32, capacity: 1000, start: [900] };
    const inputs = inputsOf(shape, random);
    assertSameForThreads((device) => ({ o: runDecode(device, shape, inputs) }));
  }),
);

Deno.test(
  "attentionDecode() gives the same bits from a bfloat16 cache as from a float32 one of its values",
  withRandom((random) => {
    for (const shape of DECODING_CASES) {
      const inputs = inputsOf(shape, random);
      for (const cache of [inputs.k, inputs.v]) {
        cache.forEach((x, i) => cache[i] = roundToBfloat16(x));
      }
      poisonUnseen(shape, inputs);
      onEveryIsa((device) =>
        assertSameBits({
          name: `o of ${JSON.stringify(shape)}`,
          actual: runDecode(device, shape, inputs, "float32", "bfloat16"),
          expected: runDecode(device, shape, inputs),
        })
      );
    }
  }),
);

Deno.test(
  "attentionDecode() gives the bits of attentionForward() when sequences start at token 0",
  withRandom((random) => {
    const shape = { B: 1, T: 130, H: 2, G: 1, E: 16 };
    const inputs = inputsOf(shape, random);
    using device = openCpu();
    const whole = runDecode(device, { ...shape, capacity: 130, start: [0] }, inputs);
    const { o } = runForward(device, shape, inputs);
    assertSameBits({ name: "o", actual: whole, expected: o });
  }),
);

Deno.test("attentionForward() refuses when the key heads do not divide the query heads", () => {
  using device = openCpu();
  const shape = { B: 1, T: 2, H: 3, G: 2, E: 4 };
  assertThrows(
    () => runForward(device, shape, inputsOf(shape, new Random(1))),
    NativeError,
    "G must divide H",
  );
});

Deno.test("attentionDecode() refuses when a sequence would outgrow the cache", () => {
  using device = openCpu();
  const shape = { B: 1, T: 2, H: 1, G: 1, E: 4, capacity: 5, start: [4] };
  assertThrows(
    () => runDecode(device, shape, inputsOf(shape, new Random(1))),
    NativeError,
    "capacity 5",
  );
});
