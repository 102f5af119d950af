import { assertEquals } from "@std/assert";
import type { Device } from "../../../lib/ffi/device.ts";
import { norm, sum } from "../../../lib/kernels/reduce.ts";
import { fromBfloat16, toBfloat16 } from "../../support/bfloat16.ts";
import { assertClose } from "../../support/compare.ts";
import { assertSameForThreads, onEveryDevice, openCpu } from "../../support/devices.ts";
import { withRandom } from "../../support/random.ts";
import { GuardedMemory } from "../../support/sentinel.ts";

// Around the unrolled vectors and the blocks of 16384.
const LENGTHS = [1, 2, 7, 31, 33, 127, 16383, 16384, 16385, 100_003];

function runSum(
  device: Device,
  x: Float32Array<ArrayBuffer>,
  options: { scale?: number; accumulate?: boolean; before?: number } = {},
): number {
  using memory = new GuardedMemory(device);
  const out = memory.inout("out", [1], new Float32Array([options.before ?? NaN]));
  sum({ x: memory.input("x", [x.length], x), out, ...options });
  memory.check();
  return out.toFloat32Array()[0]!;
}

/** x: a Uint16Array holds bits of bfloat16. `shift`: elements by which x lies off an aligned address. */
function runNorm(
  device: Device,
  x: Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>,
  options: { accumulate?: boolean; before?: number; shift?: number } = {},
): number {
  const { before = NaN, shift = 0, ...rest } = options;
  using memory = new GuardedMemory(device);
  const out = memory.inout("out", [1], new Float32Array([before]));
  const moved = x instanceof Float32Array
    ? new Float32Array(x.length + shift)
    : new Uint16Array(x.length + shift);
  moved.set(x, shift);
  const whole = memory.input("x", [moved.length], moved);
  norm({ x: whole.view([x.length], { offset: shift }), out, ...rest });
  memory.check();
  return out.toFloat32Array()[0]!;
}

Deno.test(
  "sum() is a float32 rounding away from the sum in double at awkward lengths",
  withRandom((random) => {
    for (const n of LENGTHS) {
      const x = random.normals(n, 100).map((value) => value + 3);
      const exact = x.reduce((total, value) => total + value, 0);
      const size = x.reduce((total, value) => total + Math.abs(value), 0);
      onEveryDevice((device) => {
        assertClose({
          name: `sum of ${n}`,
          actual: [runSum(device, x)],
          expected: [exact],
          relative: 2 ** -24,
          absolute: size * 2 ** -45,
        });
      });
    }
  }),
);

Deno.test("sum() scales and adds to what is there when accumulate is given", () => {
  onEveryDevice((device) => {
    const x = Float32Array.from([1, 2, 4.5]);
    assertEquals(runSum(device, x, { scale: 2 }), 15);
    assertEquals(runSum(device, x, { scale: 2, accumulate: true, before: 100 }), 115);
  });
});

Deno.test(
  "norm() is a float32 rounding away from the norm in double at awkward lengths",
  withRandom((random) => {
    for (const n of LENGTHS) {
      const x = random.normals(n);
      const exact = Math.sqrt(x.reduce((total, value) => total + value * value, 0));
      onEveryDevice((device) => {
        assertClose({
          name: `norm of ${n}`,
          actual: [runNorm(device, x)],
          expected: [exact],
          relative: 2 ** -24 + 2 ** -40,
        });
      });
    }
  }),
);

Deno.test(
  "norm() of bfloat16 is that of the numbers its bits stand for, on aligned addresses and others",
  withRandom((random) => {
    for (const n of LENGTHS) {
      const x = toBfloat16(random.normals(n));
      const exact = Math.sqrt(fromBfloat16(x).reduce((total, value) => total + value * value, 0));
      onEveryDevice((device) => {
        for (const shift of [0, 1, 3]) {
          assertClose({
            name: `norm of ${n}`,
            actual: [runNorm(device, x, { shift })],
            expected: [exact],
            relative: 2 ** -24 + 2 ** -40,
          });
        }
      });
    }
  }),
);

Deno.test(
  "norm() takes the norm of what is there and of what comes when accumulate is given",
  withRandom((random) => {
    const x = random.normals(20_001), square = x.reduce((total, value) => total + value * value, 0);
    onEveryDevice((device) => {
      assertEquals(runNorm(device, Float32Array.of(3), { accumulate: true, before: 4 }), 5);
      assertEquals(runNorm(device, toBfloat16([3]), { accumulate: true, before: -4 }), 5);
      assertEquals(runNorm(device, new Float32Array(0), { accumulate: true, before: 4 }), 4);
      assertClose({
        name: "norm",
        actual: [
          runNorm(device, x, { accumulate: true, before: 250 }),
          runNorm(device, Float32Array.of(0), { accumulate: true, before: 1e30 }),
        ],
        expected: [Math.sqrt(250 ** 2 + square), 1e30],
        relative: 2 ** -24 + 2 ** -40,
      });
    });
  }),
);

Deno.test("norm() stays not finite when it is accumulated to what is not finite", () => {
  onEveryDevice((device) => {
    for (const before of [NaN, Infinity, -Infinity]) {
      const found = runNorm(device, Float32Array.of(1), { accumulate: true, before });
      assertEquals(Number.isFinite(found), false);
    }
  });
});

Deno.test("norm() does not overflow when squares exceed float32", () => {
  onEveryDevice((device) => {
    const x = new Float32Array(100).fill(1e30);
    assertClose({ name: "norm", actual: [runNorm(device, x)], expected: [1e31], relative: 1e-6 });
  });
});

Deno.test(
  "norm() is not finite wherever a value that is not finite stands",
  withRandom((random) => {
    for (const bad of [NaN, Infinity, -Infinity]) {
      for (const n of [1, 65, 20_000]) {
        const x = random.normals(n);
        x[random.integer(0, n - 1)] = bad;
        onEveryDevice((device) => {
          assertEquals(Number.isFinite(runNorm(device, x)), false);
          assertEquals(Number.isFinite(runNorm(device, toBfloat16(x))), false);
          const options = { accumulate: true, before: 1 };
          assertEquals(Number.isFinite(runNorm(device, x, options)), false);
        });
      }
    }
  }),
);

Deno.test(
  "sum() and norm() give the same bits when threads differ",
  withRandom((random) => {
    const x = random.normals(200_001);
    assertSameForThreads((device) => ({
      sum: Float32Array.of(runSum(device, x)),
      norm: Float32Array.of(runNorm(device, x)),
      bfloat16: Float32Array.of(runNorm(device, toBfloat16(x))),
    }));
  }),
);

Deno.test("sum() refuses when out is not one element", () => {
  using device = openCpu();
  using memory = new GuardedMemory(device);
  const x = memory.output("x", "float32", [4]);
  let message = "";
  try {
    sum({ x, out: x });
  } catch (error) {
    if (error instanceof RangeError) message = error.message;
  }
  assertEquals(message, "Cannot run tb_sum as x must have shape (1): current shape is (4)");
});
