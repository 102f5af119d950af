import { assertEquals, assertThrows } from "@std/assert";
import type { Device } from "../../../lib/ffi/device.ts";
import { NativeError } from "../../../lib/ffi/errors.ts";
import { randomNormal } from "../../../lib/kernels/random.ts";
import { assertClose, assertSameBits } from "../../support/compare.ts";
import { assertSameForThreads, onCuda, openCpu } from "../../support/devices.ts";
import { withRandom } from "../../support/random.ts";
import { GuardedMemory } from "../../support/sentinel.ts";

function run(
  device: Device,
  options: { n: number; std?: number; seed?: bigint; stream?: bigint },
): Float32Array<ArrayBuffer> {
  const { n, std = 1, seed = 1n, stream = 0n } = options;
  using memory = new GuardedMemory(device);
  const to = memory.output("to", "float32", [n]);
  randomNormal({ to, std, seed, stream });
  memory.check();
  return to.toFloat32Array();
}

const MASK = 0xffffffffn;

/** Philox4x32-10 (Salmon et al., SC 2011) in big integers. */
function philox(counter: bigint[], key: bigint[]): bigint[] {
  let [c0, c1, c2, c3] = counter as [bigint, bigint, bigint, bigint];
  let [k0, k1] = key as [bigint, bigint];
  for (let round = 0; round < 10; round++) {
    const a = 0xd2511f53n * c0, b = 0xcd9e8d57n * c2;
    [c0, c1, c2, c3] = [(b >> 32n) ^ c1 ^ k0, b & MASK, (a >> 32n) ^ c3 ^ k1, a & MASK];
    k0 = (k0 + 0x9e3779b9n) & MASK;
    k1 = (k1 + 0xbb67ae85n) & MASK;
  }
  return [c0, c1, c2, c3];
}

function expectedNormals(n: number, std: number, seed: bigint, stream: bigint): number[] {
  const values: number[] = [];
  for (let group = 0n; values.length < n; group++) {
    const words = philox(
      [group & MASK, group >> 32n, stream & MASK, stream >> 32n],
      [seed & MASK, seed >> 32n],
    );
    const unit = words.map((word) => (Number(word) + 0.5) / 2 ** 32);
    for (const pair of [0, 2]) {
      const radius = std * Math.sqrt(-2 * Math.log(unit[pair]!));
      const angle = 2 * Math.PI * unit[pair + 1]!;
      values.push(radius * Math.cos(angle), radius * Math.sin(angle));
    }
  }
  return values.slice(0, n);
}

Deno.test("the test's Philox gives the authors' known answers", () => {
  const hex = (words: bigint[]) =>
    words.map((word) => word.toString(16).padStart(8, "0")).join(" ");
  assertEquals(hex(philox([0n, 0n, 0n, 0n], [0n, 0n])), "6627e8d5 e169c58d bc57ac4c 9b00dbd8");
  assertEquals(
    hex(philox([MASK, MASK, MASK, MASK], [MASK, MASK])),
    "408f276d 41c83b0e a20bc7c6 6d5451fd",
  );
});

Deno.test(
  "randomNormal() gives Box-Muller of Philox at any length, seed and stream",
  withRandom((random) => {
    using device = openCpu();
    for (const n of [1, 2, 3, 4, 5, 1001]) {
      const word = () => BigInt(random.word()) | (BigInt(random.word()) << 32n);
      const seed = word(), stream = word();
      assertClose({
        name: `normals of seed ${seed}, stream ${stream}`,
        actual: run(device, { n, std: 0.02, seed, stream }),
        expected: expectedNormals(n, Math.fround(0.02), seed, stream),
        relative: 2 ** -23,
        absolute: 1e-12,
      });
    }
  }),
);

Deno.test("randomNormal() has the moments of N(0, 1) over a million numbers", () => {
  using device = openCpu();
  const values = run(device, { n: 1_000_000 });
  const moment = (power: number) =>
    values.reduce((total, value) => total + value ** power, 0) / values.length;
  // Five standard errors each.
  assertClose({
    name: "moments 1 to 4",
    actual: [1, 2, 3, 4].map(moment),
    expected: [0, 1, 0, 3],
    absolute: 0.049,
  });
  assertClose({ name: "mean", actual: [moment(1)], expected: [0], absolute: 0.005 });
});

Deno.test("randomNormal() gives the same numbers when the tensor is longer", () => {
  using device = openCpu();
  const long = run(device, { n: 20_000 });
  assertSameBits({ name: "head", actual: run(device, { n: 37 }), expected: long.slice(0, 37) });
});

Deno.test("randomNormal() gives other numbers when the stream differs", () => {
  using device = openCpu();
  const a = run(device, { n: 64, stream: 1n }), b = run(device, { n: 64, stream: 2n });
  assertEquals(a.filter((value, i) => value === b[i]).length, 0);
});

Deno.test("randomNormal() gives the same bits on the card, whatever the chunk it comes in", () => {
  // 262144 numbers go to the card at a time.
  for (const n of [1, 5, 262_143, 262_144, 600_001]) {
    using cpu = openCpu();
    const expected = run(cpu, { n, std: 0.02, seed: 9n, stream: 3n });
    onCuda((device) => {
      const actual = run(device, { n, std: 0.02, seed: 9n, stream: 3n });
      assertSameBits({ name: "to", actual, expected });
    });
  }
});

Deno.test("randomNormal() gives the same bits when threads differ", () => {
  assertSameForThreads((device) => ({ to: run(device, { n: 20_001 }) }));
});

Deno.test("randomNormal() refuses when std is not a finite number from 0", () => {
  using device = openCpu();
  for (const std of [-1, NaN, Infinity]) {
    assertThrows(() => run(device, { n: 1, std }), NativeError, "std must be finite");
  }
});
