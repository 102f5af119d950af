// The card's part of these runs wherever there is one, by onEveryDevice().
import { assertEquals, assertThrows } from "@std/assert";
import type { Device } from "../../../lib/ffi/device.ts";
import { NativeError } from "../../../lib/ffi/errors.ts";
import { topK } from "../../../lib/kernels/top_k.ts";
import { assertSameForThreads, onEveryDevice, openCpu } from "../../support/devices.ts";
import { type Random, withRandom } from "../../support/random.ts";
import { GuardedMemory, int32sOf } from "../../support/sentinel.ts";

interface Case {
  N: number;
  stride: number;
  V: number;
  k: number;
}

/** Around one chunk of 2048 logits, around several levels of them, and a vocabulary that is padded. */
const CASES: readonly Case[] = [
  { N: 1, stride: 1, V: 1, k: 1 },
  { N: 3, stride: 9, V: 7, k: 7 },
  { N: 2, stride: 2048, V: 2048, k: 256 },
  { N: 2, stride: 2050, V: 2049, k: 50 },
  { N: 1, stride: 2048, V: 2047, k: 1 },
  { N: 5, stride: 32064, V: 32000, k: 1 },
  { N: 3, stride: 32064, V: 32000, k: 50 },
  { N: 1, stride: 70001, V: 70000, k: 256 },
];

/** Few distinct values: most have equals. */
function logitsOf(random: Random, { N, stride }: Case): Float32Array<ArrayBuffer> {
  return random.normals(N * stride).map((x) => Math.round(x * 40) / 8);
}

function run(device: Device, logits: Float32Array<ArrayBuffer>, { N, stride, V, k }: Case) {
  using memory = new GuardedMemory(device);
  const values = memory.output("values", "float32", [N, k]);
  const ids = memory.output("ids", "int32", [N, k]);
  const operand = memory.input("logits", [N, stride], logits);
  topK({ logits: operand, vocabSize: V, values, ids });
  memory.check();
  return { values: values.toFloat32Array(), ids: int32sOf(ids) };
}

/** By sorting all. */
function expectedOf(logits: Float32Array, { N, stride, V, k }: Case) {
  const rank = (x: number) => Number.isNaN(x) ? 1 : 0;
  const ids = Array.from({ length: N }, (_, row) => {
    const at = (id: number) => logits[row * stride + id]!;
    const order = Array.from({ length: V }, (_, id) => id).sort((a, b) => {
      const byNaN = rank(at(b)) - rank(at(a));
      if (byNaN !== 0) return byNaN;
      return at(a) > at(b) ? -1 : at(b) > at(a) ? 1 : a - b;
    });
    return order.slice(0, k);
  });
  const values = ids.flatMap((row, index) => row.map((id) => logits[index * stride + id]! + 0));
  return { values: Float32Array.from(values), ids: Int32Array.from(ids.flat()) };
}

Deno.test(
  "topK() gives the largest logits in order when many are equal",
  withRandom((random) => {
    const cases = CASES.map((shape) => {
      const logits = logitsOf(random, shape);
      return { shape, logits, expected: expectedOf(logits, shape) };
    });
    onEveryDevice((device) => {
      for (const { shape, logits, expected } of cases) {
        assertEquals(run(device, logits, shape), expected, JSON.stringify(shape));
      }
    });
  }),
);

Deno.test("topK() puts NaN first, takes zeros of both signs as equal and keeps infinities in order", () => {
  const logits = Float32Array.of(-0, -Infinity, NaN, 3, 0, Infinity, NaN, -1e-45, 1e-45, -3);
  const expected = [2, 6, 5, 3, 8, 0, 4, 7, 9, 1];
  onEveryDevice((device) => {
    for (const k of [10, 4, 1]) {
      const { ids, values } = run(device, logits, { N: 1, stride: 10, V: 10, k });
      assertEquals([...ids], expected.slice(0, k));
      assertEquals([...values], expected.slice(0, k).map((id) => logits[id]! + 0));
    }
  });
});

Deno.test(
  "topK() gives the same when the number of threads changes",
  withRandom((random) => {
    const shape = { N: 7, stride: 20000, V: 20000, k: 40 };
    const logits = logitsOf(random, shape);
    assertSameForThreads((device) => run(device, logits, shape));
  }),
);

Deno.test("topK() refuses when it is asked for more than 256, or more than there are", () => {
  onEveryDevice((device) => {
    for (const [V, k] of [[300, 257], [3, 4]] as const) {
      const shape = { N: 1, stride: V, V, k };
      const error = assertThrows(
        () => run(device, new Float32Array(V), shape),
        NativeError,
        `k must be 1 to 256 and at most V ${V}: current value is ${k}`,
      );
      assertEquals(error.op, "tb_top_k");
    }
  });
  using device = openCpu();
  using memory = new GuardedMemory(device);
  const logits = memory.output("logits", "float32", [2, 8]);
  const values = memory.output("values", "float32", [2, 3]);
  const ids = memory.output("ids", "int32", [2, 2]);
  assertThrows(() => topK({ logits, values, ids }), RangeError, "ids must have shape (2,3)");
});
