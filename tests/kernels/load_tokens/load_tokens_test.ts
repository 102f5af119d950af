import { assertEquals, assertThrows } from "@std/assert";
import type { Device } from "../../../lib/ffi/device.ts";
import { loadTokens } from "../../../lib/kernels/load_tokens.ts";
import { assertSame } from "../../support/compare.ts";
import { assertSameForThreads, onEveryIsa, openCpu } from "../../support/devices.ts";
import { type Random, withRandom } from "../../support/random.ts";
import { GuardedMemory, int32sOf } from "../../support/sentinel.ts";

interface Case {
  B: number;
  T: number;
  width: 2 | 4;
}

const CASES: readonly Case[] = [
  { B: 1, T: 1, width: 2 },
  { B: 3, T: 31, width: 2 },
  { B: 2, T: 1025, width: 4 },
  { B: 5, T: 17, width: 4 },
];
const VOCAB_SIZE = 60000;

/** A stretch of tokens with one odd byte before them, and windows that overlap at random places in it. */
function inputsOf({ B, T, width }: Case, random: Random) {
  const count = 3 * (T + 1);
  const tokens = random.int32s(count, 0, VOCAB_SIZE - 1);
  const bytes = new Uint8Array(1 + count * width);
  const view = new DataView(bytes.buffer);
  const put = (index: number, token: number) =>
    width === 2
      ? view.setUint16(1 + index * width, token, true)
      : view.setUint32(1 + index * width, token, true);
  tokens.forEach((token, index) => put(index, token));
  const starts = Array.from({ length: B }, () => random.integer(0, count - T - 1));
  return { tokens, bytes, starts, put };
}

type Inputs = ReturnType<typeof inputsOf>;

function run(device: Device, { B, T, width }: Case, inputs: Inputs) {
  using memory = new GuardedMemory(device);
  const base = device.alloc(inputs.bytes.length);
  try {
    device.upload(base, inputs.bytes);
    const ids = memory.output("ids", "int32", [B, T]);
    const targets = memory.output("targets", "int32", [B, T]);
    const windows = BigUint64Array.from(
      inputs.starts,
      (start) => base + BigInt(1 + start * width),
    );
    const before = int32sOf(ids);
    const bad = loadTokens({ windows, width, vocabSize: VOCAB_SIZE, ids, targets });
    memory.check();
    return { ids: int32sOf(ids), targets: int32sOf(targets), bad, before };
  } finally {
    device.free(base);
  }
}

Deno.test(
  "loadTokens() gives each window and the same shifted by one at both widths",
  withRandom((random) => {
    for (const shape of CASES) {
      const inputs = inputsOf(shape, random);
      const window = (shift: number) =>
        inputs.starts.flatMap((start) => [
          ...inputs.tokens.subarray(start + shift, start + shift + shape.T),
        ]);
      onEveryIsa((device) => {
        const { ids, targets, bad } = run(device, shape, inputs);
        assertEquals(bad, null);
        assertSame({ name: "ids", actual: ids, expected: window(0) });
        assertSame({ name: "targets", actual: targets, expected: window(1) });
      });
    }
  }),
);

for (const width of [2, 4] as const) {
  for (const token of width === 2 ? [VOCAB_SIZE, 65535] : [VOCAB_SIZE, 2 ** 31, 2 ** 32 - 1]) {
    Deno.test(
      `loadTokens() names window, position and id and writes nothing when a ${width}-byte token is ${token}`,
      withRandom((random) => {
        const shape = { B: 4, T: 77, width };
        const inputs = inputsOf(shape, random);
        inputs.starts.splice(0, 4, 0, 78, 100, 130);
        inputs.put(78 + 77, token); // the last target of window 1, and inside the later ones
        onEveryIsa((device) => {
          const { ids, before, bad } = run(device, shape, inputs);
          assertEquals(bad, { window: 1, position: 77, token });
          assertSame({ name: "ids", actual: ids, expected: before });
        });
      }),
    );
  }
}

Deno.test(
  "loadTokens() gives the same integers when threads differ",
  withRandom((random) => {
    const shape = { B: 9, T: 2000, width: 2 as const };
    const inputs = inputsOf(shape, random);
    assertSameForThreads((device) => {
      const { ids, targets } = run(device, shape, inputs);
      return { ids, targets };
    });
  }),
);

Deno.test("loadTokens() refuses when the number of windows is not the number of rows", () => {
  using device = openCpu();
  using memory = new GuardedMemory(device);
  const ids = memory.output("ids", "int32", [2, 3]);
  const targets = memory.output("targets", "int32", [2, 3]);
  assertThrows(
    () => loadTokens({ windows: new BigUint64Array(1), width: 2, vocabSize: 9, ids, targets }),
    RangeError,
    "must hold 2 addresses",
  );
});
