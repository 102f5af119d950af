import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import {
  exactKeyGradients,
  exactOutput,
  exactQueryGradient,
} from "../../lib/bench/attention_oracle.ts";
import { makeDecoding, makeTraining } from "../../lib/bench/attention_problems.ts";
import { runAttentionSuite } from "../../lib/bench/kernel_suites.ts";
import type { Device } from "../../lib/ffi/device.ts";
import { cudaTest, openCpu } from "../support/devices.ts";
import { type Random, withRandom } from "../support/random.ts";

const SHAPES = {
  training: [{ B: 2, H: 3, T: 37, E: 8 }],
  decoding: [{ B: 2, H: 3, T: 300, E: 16 }],
};

/** A head of T tokens of width E in FP64, and the loss sum(o · dout) as a function of q, k and v. */
function smallHead(random: Random) {
  const T = 5, E = 3;
  const rows = () =>
    Array.from({ length: T }, () => Float64Array.from({ length: E }, () => random.normal()));
  const [q, k, v, dout] = [rows(), rows(), rows(), rows()];
  const scale = 0.7;
  const output = (t: number) =>
    exactOutput({ k: (s) => k[s]!, v: (s) => v[s]!, scale }, { q: q[t]!, seen: t + 1 });
  const loss = () =>
    dout.reduce((sum, row, t) => {
      const { values } = output(t);
      return sum + row.reduce((dot, value, e) => dot + value * values[e]!, 0);
    }, 0);
  return { T, E, q, k, v, dout, scale, output, loss };
}

Deno.test("exactOutput() is the mean of the values seen when all scores are equal", () => {
  const rows = [[1, 2], [3, 6], [100, 100]].map((row) => Float64Array.from(row));
  const { values, magnitudes, lse } = exactOutput(
    { k: (s) => rows[s]!, v: (s) => rows[s]!, scale: 1 },
    { q: new Float64Array(2), seen: 2 },
  );
  assertAlmostEquals(values[0]!, 2);
  assertAlmostEquals(values[1]!, 4);
  assertAlmostEquals(magnitudes[1]!, 4);
  assertAlmostEquals(lse, Math.log(2));
});

Deno.test(
  "the oracle's gradients are those of finite differences",
  withRandom((random) => {
    const { T, E, q, k, v, dout, scale, output, loss } = smallHead(random);
    const outputs = q.map((_, t) => output(t));
    const values = {
      ...{ q: (t: number) => q[t]!, k: (t: number) => k[t]!, v: (t: number) => v[t]!, scale },
      dout: (t: number) => dout[t]!,
      o: (t: number) => outputs[t]!.values,
      lse: (t: number) => outputs[t]!.lse,
    };
    const difference = (row: Float64Array, e: number) => {
      const step = 1e-5, before = row[e]!;
      row[e] = before + step;
      const above = loss();
      row[e] = before - step;
      const below = loss();
      row[e] = before;
      return (above - below) / (2 * step);
    };
    for (let t = 0; t < T; t++) {
      const dq = exactQueryGradient(values, t);
      const { dk, dv } = exactKeyGradients(values, { s: t, T });
      for (let e = 0; e < E; e++) {
        assertAlmostEquals(dq.values[e]!, difference(q[t]!, e), 1e-7);
        assertAlmostEquals(dk.values[e]!, difference(k[t]!, e), 1e-7);
        assertAlmostEquals(dv.values[e]!, difference(v[t]!, e), 1e-7);
        assert(dk.magnitudes[e]! >= Math.abs(dk.values[e]!));
      }
    }
  }),
);

function checkSuite(device: Device): void {
  const { rows } = runAttentionSuite(device, SHAPES, {
    roofs: { memoryBytesPerS: 1e10, peak: null },
    cacheBytes: 100_000,
    repeat: 2,
    sampleMs: 0.01,
  });
  assertEquals(rows.map(({ kernel, shape }) => `${kernel} ${shape}`), [
    "forward 2 x 3 x 37 x 8",
    "backward 2 x 3 x 37 x 8",
    "decode 2 x 3 x 300 x 16",
  ]);
  assertEquals(rows.map(({ operations }) => operations), [
    2 * 6 * 37 * 37 * 8,
    5 * 6 * 37 * 37 * 8,
    4 * 6 * 300 * 16,
  ]);
}

Deno.test("runAttentionSuite() checks and measures every op on the CPU", () => {
  using device = openCpu();
  checkSuite(device);
});

cudaTest("runAttentionSuite() checks and measures every op", checkSuite);

for (
  const { name, symbol, make } of [
    { name: "forward", symbol: "tb_attention_forward", make: makeTraining },
    { name: "backward", symbol: "tb_attention_backward", make: makeTraining },
    { name: "decode", symbol: "tb_attention_decode", make: makeDecoding },
  ] as const
) {
  Deno.test(`the check of ${name} throws when the op leaves its results untouched`, () => {
    using device = openCpu();
    Object.defineProperty(device, "symbols", { value: { ...device.symbols, [symbol]: () => 0 } });
    using problem = make(device, { B: 1, H: 2, T: 9, E: 4 }, { cacheBytes: 0 });
    const op = problem.ops.find((one) => one.name === name)!;
    assertThrows(() => op.check(), Error, "is wrong in value 0");
  });
}
