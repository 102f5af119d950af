import { assertEquals } from "@std/assert";
import { rmsnormForward } from "../../lib/kernels/rmsnorm.ts";
import { onEveryIsa } from "../support/devices.ts";
import { GuardedMemory } from "../support/sentinel.ts";

// JavaScript's % on large numbers is C's fmod, which computes in the x87 registers: code that uses them as MMX registers and
// leaves them so turns its results into NaN.
Deno.test("ops leave the processor's float registers as JavaScript needs them", () => {
  const width = 37; // no whole vectors
  onEveryIsa((device) => {
    using memory = new GuardedMemory(device);
    const values = new Float32Array(width).fill(1);
    const x = memory.input("x", [1, width], values);
    const weight = memory.input("weight", [width], values);
    const q = memory.output("q", "int8", [1, width]);
    const scale = memory.output("scale", "float32", [1]);
    for (const quantizer of ["absmax", "absmean"] as const) {
      rmsnormForward({ x, weight, eps: 1e-5, quantizer, q, scale });
      const large = 2 ** 44 + Math.floor(2 ** 40 * Math.random());
      assertEquals(large % 2147483647, Number(BigInt(large) % 2147483647n), quantizer);
    }
  });
});
