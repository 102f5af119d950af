import { assertEquals, assertThrows } from "@std/assert";
import { quantizeWeight } from "../../../lib/kernels/quantize_weight.ts";
import type { Device } from "../../../lib/ffi/device.ts";
import { assertClose, assertSame, assertSameBits } from "../../support/compare.ts";
import { assertSameForThreads, onEveryDevice, onEveryIsa, openCpu } from "../../support/devices.ts";
import { withRandom } from "../../support/random.ts";
import { GuardedMemory, int8sOf } from "../../support/sentinel.ts";
import { scaleOf, ternaryOf } from "./reference.ts";

// 16384 elements make a block of the sum; 16 a step of it.
const SHAPES = [[1, 1], [1, 17], [3, 5], [100, 7], [128, 128], [127, 129], [131, 509]];

function quantize(
  device: Device,
  w: Float32Array<ArrayBuffer>,
  [rows, columns]: readonly [number, number],
): { q: Int8Array<ArrayBuffer>; scale: Float32Array<ArrayBuffer> } {
  using memory = new GuardedMemory(device);
  const q = memory.output("q", "int8", [rows, columns]);
  const scale = memory.output("scale", "float32", [rows]);
  quantizeWeight({ w: memory.input("w", [rows, columns], w), q, scale });
  memory.check();
  return { q: int8sOf(q), scale: scale.toFloat32Array() };
}

Deno.test(
  "quantizeWeight() gives the mean magnitude as every row's scale",
  withRandom((random) => {
    onEveryDevice((device) => {
      for (const shape of SHAPES as [number, number][]) {
        const w = random.normals(shape[0] * shape[1], 0.02);
        const { scale } = quantize(device, w, shape);
        const expected = new Float64Array(shape[0]).fill(scaleOf(w));
        assertClose({ name: "scale", actual: scale, expected, relative: 2 ** -24 });
      }
    });
  }),
);

Deno.test(
  "quantizeWeight() rounds w / scale to -1, 0 and 1",
  withRandom((random) => {
    onEveryDevice((device) => {
      for (const shape of SHAPES as [number, number][]) {
        const w = random.normals(shape[0] * shape[1], 0.02);
        const { q, scale } = quantize(device, w, shape);
        assertSame({ name: "q", actual: q, expected: ternaryOf(w, scale[0]!), shape });
      }
    });
  }),
);

Deno.test("quantizeWeight() rounds a quotient of one half to zero and its neighbours apart", () => {
  const ulp = 2 ** -24;
  const around = [0.5 - ulp / 2, 0.5, 0.5 + ulp, -0.5 + ulp / 2, -0.5, -0.5 - ulp];
  const sum = around.reduce((total, value) => total + Math.abs(value), 0);
  // A last value that makes the mean exactly 1 after its rounding to float32.
  const w = Float32Array.from([...around, 7 - sum]);
  onEveryDevice((device) => {
    const { q, scale } = quantize(device, w, [1, 7]);
    assertEquals(scale, Float32Array.of(1));
    assertEquals(q, Int8Array.of(0, 0, 1, 0, 0, -1, 1));
  });
});

Deno.test(
  "quantizeWeight() agrees with a float32 division at the ties of any scale",
  withRandom((random) => {
    onEveryDevice((device) => {
      for (let trial = 0; trial < 500; trial++) {
        const scale = Math.fround(2 ** (20 * random.uniform() - 16));
        const tie = scale / 2;
        const w = random.normals(64, scale / 2);
        w.set([tie, tie * (1 + 2 ** -23), tie * (1 - 2 ** -24), -tie, -tie * (1 + 2 ** -23)]);
        // The last two weights make the mean the wanted scale, to well under half a unit in its last place: one alone could be rounded
        // by that half.
        w.fill(0, 62);
        const rest = 64 * scale - w.reduce((sum, value) => sum + Math.abs(value), 0);
        w[62] = 0.75 * rest;
        w[63] = rest - w[62]!;
        const result = quantize(device, w, [8, 8]);
        assertEquals(result.scale[0], scale);
        assertSame({ name: "q", actual: result.q, expected: ternaryOf(w, scale) });
      }
    });
  }),
);

Deno.test("quantizeWeight() keeps the scale at 1e-5 when all weights are smaller", () => {
  onEveryDevice((device) => {
    for (const value of [0, 1e-9, -4.9e-6]) {
      const { q, scale } = quantize(device, new Float32Array(12).fill(value), [3, 4]);
      assertEquals(scale, new Float32Array(3).fill(1e-5));
      assertEquals(q, new Int8Array(12));
    }
  });
});

Deno.test(
  "quantizeWeight() makes the scale NaN and q zero when a weight is NaN",
  withRandom((random) => {
    onEveryDevice((device) => {
      const w = random.normals(35);
      w[random.integer(0, 34)] = NaN;
      const { q, scale } = quantize(device, w, [5, 7]);
      assertEquals(scale, new Float32Array(5).fill(NaN));
      assertEquals(q, new Int8Array(35));
    });
  }),
);

Deno.test("quantizeWeight() makes the scale infinite and q zero when a weight is infinite", () => {
  onEveryDevice((device) => {
    const { q, scale } = quantize(device, Float32Array.of(1, -Infinity, 2, 3), [2, 2]);
    assertEquals(scale, new Float32Array(2).fill(Infinity));
    assertEquals(q, new Int8Array(4));
  });
});

Deno.test(
  "quantizeWeight() gives the same bits when threads and instruction sets change",
  withRandom((random) => {
    const w = random.normals(131 * 509, 0.02);
    assertSameForThreads((device) => quantize(device, w, [131, 509]));
    let first: ReturnType<typeof quantize> | null = null;
    onEveryIsa((device) => {
      const result = quantize(device, w, [131, 509]);
      first ??= result;
      assertSameBits({ name: "scale", actual: result.scale, expected: first.scale });
      assertSameBits({ name: "q", actual: result.q, expected: first.q });
    });
  }),
);

Deno.test("quantizeWeight() throws RangeError when q or scale has another shape", () => {
  using device = openCpu();
  using memory = new GuardedMemory(device);
  const w = memory.output("w", "float32", [2, 3]);
  const q = memory.output("q", "int8", [2, 3]);
  const scale = memory.output("scale", "float32", [3]);
  assertThrows(() => quantizeWeight({ w, q, scale }), RangeError, "scale must have shape (2)");
  const short = memory.output("q", "int8", [2, 2]);
  assertThrows(() => quantizeWeight({ w, q: short, scale }), RangeError, "q must have shape (2,3)");
});
