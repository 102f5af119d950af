import { assertEquals, assertThrows } from "@std/assert";
import type { Device } from "../../../lib/ffi/device.ts";
import { cast } from "../../../lib/kernels/cast.ts";
import { assertSameForThreads, onEveryDevice, openCpu } from "../../support/devices.ts";
import { withRandom } from "../../support/random.ts";
import { GuardedMemory } from "../../support/sentinel.ts";

/** The bits of the nearest bfloat16, by comparing both neighbours; ties go to the even one. */
function nearest(value: number): number {
  if (Number.isNaN(value)) return 0x7fff;
  const below = new Uint32Array(Float32Array.of(value).buffer)[0]! >>> 16;
  const above = below + 1;
  const widened = (bits: number) => {
    // The first bfloat16 that float32 has no number for stands for 2^128, so that the tie before it is one.
    if ((bits & 0x7fff) === 0x7f80) return (bits >> 15 ? -1 : 1) * 2 ** 128;
    return new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!;
  };
  if (!Number.isFinite(value)) return below;
  const down = Math.abs(value - widened(below)), up = Math.abs(widened(above) - value);
  if (down === up) return below % 2 === 0 ? below : above;
  return down < up ? below : above;
}

function narrowed(device: Device, values: Float32Array<ArrayBuffer>): Uint16Array<ArrayBuffer> {
  using memory = new GuardedMemory(device);
  const to = memory.output("to", "bfloat16", [values.length]);
  cast({ from: memory.input("from", [values.length], values), to });
  memory.check();
  return to.download(new Uint16Array(values.length));
}

const SPECIAL = [
  ...[0, -0, 1, -1, NaN, Infinity, -Infinity, 3.4028234663852886e38, -3.4028234663852886e38],
  ...[2 ** -149, -(2 ** -149), 2 ** -133, 3 * 2 ** -134, 1 + 2 ** -8, 1 + 3 * 2 ** -8],
  ...[1 + 2 ** -8 + 2 ** -23, 1 + 3 * 2 ** -8 - 2 ** -23, 3.3961775292304957e38],
];

Deno.test("cast() gives the nearest bfloat16, halves to even, when float32 is narrowed", () => {
  const values = Float32Array.from(SPECIAL);
  onEveryDevice((device) => {
    assertEquals([...narrowed(device, values)], [...values].map(nearest));
  });
});

Deno.test(
  "cast() gives the nearest bfloat16 when lengths are awkward and bits random",
  withRandom((random) => {
    for (const length of [1, 7, 8, 9, 255, 1021, 70001]) {
      const words = Uint32Array.from({ length }, () => random.word());
      const values = new Float32Array(words.buffer);
      const expected = Uint16Array.from(values, nearest);
      onEveryDevice((device) => assertEquals(narrowed(device, values), expected));
    }
  }),
);

Deno.test("cast() gives back every bfloat16 when it is widened and narrowed again", () => {
  const all = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
  onEveryDevice((device) => {
    using memory = new GuardedMemory(device);
    const narrow = memory.output("narrow", "bfloat16", [65536]);
    narrow.upload(all);
    const wide = memory.output("wide", "float32", [65536]);
    const again = memory.output("again", "bfloat16", [65536]);
    cast({ from: narrow, to: wide });
    cast({ from: wide, to: again });
    memory.check();
    const values = wide.toFloat32Array();
    const actual = again.download(new Uint16Array(65536));
    for (const [bits, value] of values.entries()) {
      if (Number.isNaN(value)) {
        assertEquals([(bits & 0x7fff) > 0x7f80, actual[bits]], [true, 0x7fff], `bits ${bits}`);
      } else {
        assertEquals(actual[bits], bits);
      }
    }
  });
});

Deno.test(
  "cast() copies when both dtypes are equal",
  withRandom((random) => {
    const values = random.normals(37);
    onEveryDevice((device) => {
      using memory = new GuardedMemory(device);
      const to = memory.output("to", "float32", [37]);
      cast({ from: memory.input("from", [37], values), to });
      memory.check();
      assertEquals(to.toFloat32Array(), values);
    });
  }),
);

Deno.test(
  "cast() gives the same bits when threads differ",
  withRandom((random) => {
    const values = random.normals(200003);
    assertSameForThreads((device) => ({ to: narrowed(device, values) }));
  }),
);

Deno.test("cast() refuses when shapes differ, naming both", () => {
  using device = openCpu();
  using memory = new GuardedMemory(device);
  const from = memory.output("latent", "float32", [2, 3]);
  const to = memory.output("copy", "bfloat16", [3, 2]);
  assertThrows(() => cast({ from, to }), RangeError, "copy must have shape (2,3)");
});

Deno.test("cast() refuses when a dtype is no activation's", () => {
  using device = openCpu();
  using memory = new GuardedMemory(device);
  const from = memory.output("q", "int8", [2]);
  const to = memory.output("copy", "bfloat16", [2]);
  assertThrows(() => cast({ from, to }), TypeError, "int8");
});
