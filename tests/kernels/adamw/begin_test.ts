import { assertEquals } from "@std/assert";
import type { Device } from "../../../lib/ffi/device.ts";
import { adamwBegin } from "../../../lib/kernels/adamw.ts";
import { assertClose, assertSameBits } from "../../support/compare.ts";
import { onEveryDevice } from "../../support/devices.ts";
import { GuardedMemory, int32sOf } from "../../support/sentinel.ts";

const BETAS = [[0.9, 0.95], [0.9, 0.999], [0, 0.5], [0.99, 0.9999]] as const;

function begin(device: Device, { updates, gradNorm }: { updates: number; gradNorm: number }) {
  using memory = new GuardedMemory(device);
  const rows = BETAS.flatMap(([beta1, beta2]) => [3e-3, beta1, beta2, 1e-8, 0.1, -7, -7, 1]);
  const hyper = memory.inout("hyper", [BETAS.length, 8], Float32Array.from(rows));
  const counter = memory.inout("updates", [1], Int32Array.of(updates));
  adamwBegin({
    gradNorm: memory.input("gradNorm", [1], Float32Array.of(gradNorm)),
    updates: counter,
    hyper,
  });
  memory.check();
  return { updates: int32sOf(counter)[0]!, hyper: hyper.toFloat32Array() };
}

/** Both corrections of every group; what else is in hyper must be as it was. */
function correctionsOf(hyper: Float32Array): number[] {
  return BETAS.flatMap(([beta1, beta2], group) => {
    const row = [...hyper.subarray(8 * group, 8 * group + 8)];
    const rest = row.filter((_, i) => i !== 5 && i !== 6);
    assertEquals(rest, [3e-3, beta1, beta2, 1e-8, 0.1, 1].map(Math.fround));
    return row.slice(5, 7);
  });
}

function expectedFor(update: number): number[] {
  return BETAS.flat().map((beta) => 1 - Math.fround(beta) ** update);
}

Deno.test("adamwBegin() counts an update and writes the corrections of its number", () => {
  onEveryDevice((device) => {
    for (const before of [0, 1, 2, 9, 1000, 299_999, 2_000_000]) {
      const { updates, hyper } = begin(device, { updates: before, gradNorm: 3 });
      assertEquals(updates, before + 1);
      assertClose({
        name: `corrections of update ${updates}`,
        actual: correctionsOf(hyper),
        expected: expectedFor(updates),
        relative: 2 ** -24 + 1e-12,
      });
    }
  });
});

for (const gradNorm of [NaN, Infinity, -Infinity]) {
  Deno.test(`adamwBegin() counts nothing when the norm is ${gradNorm}, and leaves corrections that hold`, () => {
    onEveryDevice((device) => {
      for (const before of [0, 1, 9]) {
        const { updates, hyper } = begin(device, { updates: before, gradNorm });
        assertEquals(updates, before);
        assertClose({
          name: `corrections after ${before} updates`,
          actual: correctionsOf(hyper),
          expected: expectedFor(Math.max(before, 1)), // above 0, as adamw() wants them
          relative: 2 ** -24 + 1e-12,
        });
      }
    });
  });
}

Deno.test("adamwBegin() gives every device the same bits", () => {
  let expected: Float32Array | null = null;
  onEveryDevice((device) => {
    const { hyper } = begin(device, { updates: 12_345, gradNorm: 1 });
    expected ??= hyper;
    assertSameBits({ name: "hyper", actual: hyper, expected });
  });
});
