import { assertEquals, assertThrows } from "@std/assert";
import type { Device } from "../../../lib/ffi/device.ts";
import { Graph } from "../../../lib/ffi/graph.ts";
import { quantizeWeight } from "../../../lib/kernels/quantize_weight.ts";
import { quantizedStatistics, ternaryStatistics } from "../../../lib/kernels/statistics.ts";
import { assertClose } from "../../support/compare.ts";
import { assertSameForThreads, cudaTest, onEveryDevice, openCpu } from "../../support/devices.ts";
import { withRandom } from "../../support/random.ts";
import { GuardedMemory, int64sOf } from "../../support/sentinel.ts";
import { quantizedCounts, scaleStatistics, ternaryCounts } from "./reference.ts";

type Shape = readonly [rows: number, columns: number];

// 16384 elements make a block of the counts, 4 an access of the card.
const SHAPES: readonly Shape[] = [
  ...[[1, 1], [1, 3], [3, 5], [7, 17], [128, 128], [127, 129], [131, 509]] as const,
];
const MARGIN = 0.1;

interface TernaryCase {
  w: Float32Array<ArrayBuffer>;
  q: Int8Array<ArrayBuffer>;
  previous?: Int8Array<ArrayBuffer>;
  scale: number;
  margin?: number;
  /** Elements by which w, q and previous lie off an aligned address. */
  shift?: number;
}

function countTernary(device: Device, [rows, columns]: Shape, given: TernaryCase): number[] {
  const { shift = 0, margin = MARGIN } = given;
  using memory = new GuardedMemory(device);
  const place = <A extends Float32Array<ArrayBuffer> | Int8Array<ArrayBuffer>>(
    name: string,
    values: A,
  ) => {
    const moved = values instanceof Float32Array
      ? new Float32Array(values.length + shift)
      : new Int8Array(values.length + shift);
    moved.set(values, shift);
    return memory.input(name, [moved.length], moved).view([rows, columns], { offset: shift });
  };
  const counts = memory.output("counts", "int64", [5]);
  ternaryStatistics({
    w: place("w", given.w),
    q: place("q", given.q),
    previous: given.previous === undefined ? null : place("previous", given.previous),
    scale: memory.input("scale", [rows], new Float32Array(rows).fill(given.scale)),
    margin,
    counts,
  });
  memory.check();
  return int64sOf(counts);
}

function countQuantized(
  device: Device,
  [N, D]: Shape,
  given: {
    q: Int8Array<ArrayBuffer>;
    scale: Float32Array<ArrayBuffer>;
    quantizer?: "absmax" | "absmean";
  },
): { counts: number[]; scales: Float32Array<ArrayBuffer> } {
  using memory = new GuardedMemory(device);
  const counts = memory.output("counts", "int64", [2]);
  const scales = memory.output("scales", "float32", [2]);
  quantizedStatistics({
    q: memory.input("q", [N, D], given.q),
    scale: memory.input("scale", [N], given.scale),
    quantizer: given.quantizer ?? "absmax",
    counts,
    scales,
  });
  memory.check();
  return { counts: int64sOf(counts), scales: scales.toFloat32Array() };
}

Deno.test(
  "ternaryStatistics() counts as its definition does at awkward shapes and addresses",
  withRandom((random) => {
    for (const shape of SHAPES) {
      const n = shape[0] * shape[1];
      const given = {
        w: random.normals(n, 0.02),
        q: random.int8s(n, -1, 1),
        previous: random.int8s(n, -1, 1),
        scale: 0.016,
      };
      const expected = ternaryCounts({ ...given, margin: MARGIN });
      onEveryDevice((device) => {
        for (const shift of [0, 1, 3]) {
          assertEquals(countTernary(device, shape, { ...given, shift }), expected, `${shape}`);
        }
      });
    }
  }),
);

Deno.test("ternaryStatistics() counts no flips without a previous matrix, and all against its negative", () => {
  const w = new Float32Array(6), q = Int8Array.of(1, -1, 1, 1, -1, 1);
  onEveryDevice((device) => {
    assertEquals(countTernary(device, [2, 3], { w, q, scale: 1 }), [2, 0, 4, 0, 0]);
    const previous = q.map((value) => -value);
    assertEquals(countTernary(device, [2, 3], { w, q, previous, scale: 1 }), [2, 0, 4, 6, 0]);
    assertEquals(countTernary(device, [2, 3], { w, q, previous: q, scale: 1 }), [2, 0, 4, 0, 0]);
  });
});

Deno.test("ternaryStatistics() takes both edges of what is near a threshold, and nothing beyond", () => {
  const scale = Math.fround(0.3);
  const edges = [-1, 1].map((sign) =>
    Math.fround(Math.fround(0.5 + sign * Math.fround(MARGIN)) * scale)
  ) as [number, number];
  const next = (value: number, by: number) => {
    const bits = new Int32Array(Float32Array.of(value).buffer);
    bits[0]! += by;
    return new Float32Array(bits.buffer)[0]!;
  };
  const [low, high] = edges;
  const inside = [low, next(low, 1), 0.15, next(high, -1), high];
  const outside = [0, next(low, -1), next(high, 1), 0.3, NaN, Infinity];
  onEveryDevice((device) => {
    for (const [values, near] of [[inside, 10], [outside, 0]] as const) {
      const w = Float32Array.from([...values, ...values.map((value) => -value)]);
      const q = new Int8Array(w.length);
      const counts = countTernary(device, [1, w.length], { w, q, scale });
      assertEquals(counts, [0, w.length, 0, 0, near]);
    }
  });
});

Deno.test("ternaryStatistics() counts weights at exactly half the scale as zeros that are near", () => {
  // Mean 1 exactly: thresholds at -1/2 and 1/2, which half to even rounds to 0.
  const w = Float32Array.of(0.5, -0.5, 0.5, -0.5, 1.5, 1.5, 1.5, 1.5, -1);
  onEveryDevice((device) => {
    using memory = new GuardedMemory(device);
    const tensors = {
      w: memory.input("w", [3, 3], w),
      q: memory.output("q", "int8", [3, 3]),
      scale: memory.output("scale", "float32", [3]),
    };
    quantizeWeight(tensors);
    assertEquals(tensors.scale.toFloat32Array(), new Float32Array(3).fill(1));
    const counts = memory.output("counts", "int64", [5]);
    ternaryStatistics({ ...tensors, margin: 0, counts });
    assertEquals(int64sOf(counts), [1, 4, 4, 0, 4]);
    memory.check();
  });
});

Deno.test("ternaryStatistics() of a matrix of zeros: all zero, none near", () => {
  onEveryDevice((device) => {
    const given = { w: new Float32Array(35), q: new Int8Array(35), scale: Math.fround(1e-5) };
    assertEquals(countTernary(device, [5, 7], given), [0, 35, 0, 0, 0]);
  });
});

Deno.test("ternaryStatistics() finds nothing near where the scale is NaN", () => {
  onEveryDevice((device) => {
    const given = { w: Float32Array.of(0, 0.5, NaN), q: new Int8Array(3), scale: NaN };
    assertEquals(countTernary(device, [1, 3], given), [0, 3, 0, 0, 0]);
  });
});

Deno.test("ternaryStatistics() throws where previous has another shape or the margin is beyond 0.5", () => {
  using device = openCpu();
  using memory = new GuardedMemory(device);
  const w = memory.output("w", "float32", [2, 3]), q = memory.output("q", "int8", [2, 3]);
  const scale = memory.output("scale", "float32", [2]);
  const counts = memory.output("counts", "int64", [5]);
  const given = { w, q, scale, counts, margin: 0.1 };
  const previous = memory.output("previous", "int8", [3, 2]);
  assertThrows(
    () => ternaryStatistics({ ...given, previous }),
    RangeError,
    "previous must have shape (2,3)",
  );
  for (const margin of [-0.1, 0.6, NaN]) {
    assertThrows(
      () => ternaryStatistics({ ...given, margin }),
      RangeError,
      `margin must be from 0 to 0.5: current value is ${margin}`,
    );
  }
});

Deno.test(
  "quantizedStatistics() counts zeros and values at the limits of either quantiser",
  withRandom((random) => {
    for (const shape of SHAPES) {
      const n = shape[0] * shape[1];
      const scale = random.normals(shape[0]).map(Math.abs);
      for (const [quantizer, low, high] of [["absmax", -127, 127], ["absmean", -8, 7]] as const) {
        const q = random.int8s(n, low - (quantizer === "absmax" ? 1 : 0), high);
        const [mean, largest] = scaleStatistics(scale);
        onEveryDevice((device) => {
          const found = countQuantized(device, shape, { q, scale, quantizer });
          assertEquals(found.counts, quantizedCounts(q, low, high), `${quantizer} ${shape}`);
          assertEquals(found.scales[1], largest);
          const actual = [found.scales[0]!];
          assertClose({ name: "mean", actual, expected: [mean], relative: 2 ** -24 + 2 ** -40 });
        });
      }
    }
  }),
);

Deno.test(
  "quantizedStatistics() adds many scales in double",
  withRandom((random) => {
    const scale = random.normals(20_001).map((value) => Math.abs(value) + 1e4);
    const [mean, largest] = scaleStatistics(scale);
    onEveryDevice((device) => {
      const { scales } = countQuantized(device, [20_001, 1], { q: new Int8Array(20_001), scale });
      assertClose({ name: "mean", actual: [scales[0]!], expected: [mean], relative: 2 ** -24 });
      assertEquals(scales[1], largest);
    });
  }),
);

Deno.test("quantizedStatistics() gives a NaN scale to the mean and skips it in the maximum", () => {
  onEveryDevice((device) => {
    const given = { q: new Int8Array(4), scale: Float32Array.of(NaN, 1, 2, NaN) };
    assertEquals(countQuantized(device, [4, 1], given), {
      counts: [4, 0],
      scales: Float32Array.of(NaN, 2),
    });
  });
});

Deno.test(
  "both give the same bits when threads differ",
  withRandom((random) => {
    const shape = [300, 509] as const;
    const n = shape[0] * shape[1];
    const given = { w: random.normals(n), q: random.int8s(n, -1, 1), scale: 0.8 };
    const input = { q: random.int8s(n), scale: random.normals(300).map(Math.abs) };
    assertSameForThreads((device) => {
      const { counts, scales } = countQuantized(device, shape, input);
      const ternary = countTernary(device, shape, given);
      return { ternary: Float64Array.from(ternary), counts: Float64Array.from(counts), scales };
    });
  }),
);

cudaTest("a recorded ternaryStatistics() counts what is there when it runs", (device, random) => {
  const n = 131 * 509;
  using memory = new GuardedMemory(device);
  const w = memory.inout("w", [131, 509], random.normals(n));
  const q = memory.inout("q", [131, 509], random.int8s(n, -1, 1));
  const scale = memory.input("scale", [131], new Float32Array(131).fill(0.5));
  const counts = memory.output("counts", "int64", [5]);
  using graph = Graph.record(device, () => ternaryStatistics({ w, q, scale, margin: 0.1, counts }));
  const later = { w: random.normals(n), q: random.int8s(n, -1, 1) };
  w.upload(later.w);
  q.upload(later.q);
  graph.launch();
  const expected = ternaryCounts({ ...later, previous: null, scale: 0.5, margin: 0.1 });
  assertEquals(int64sOf(counts), expected);
});
