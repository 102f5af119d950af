import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { Random } from "../../lib/inference/random.ts";

const MASK = 0xffff_ffffn;

/** xoshiro128++ and the seeding that Random states, in whole numbers of any size. */
function* expectedWords(seed: number): Generator<number> {
  const rotate = (x: bigint, by: bigint) => ((x << by) | (x >> (32n - by))) & MASK;
  const mix = (value: bigint) => {
    let x = value & MASK;
    x = ((x ^ (x >> 16n)) * 0x85ebca6bn) & MASK;
    x = ((x ^ (x >> 13n)) * 0xc2b2ae35n) & MASK;
    return x ^ (x >> 16n);
  };
  const low = BigInt(seed) & MASK;
  const a = mix(low + 0x9e3779b9n);
  const b = mix((BigInt(seed) >> 32n) ^ mix(low + 0x3c6ef372n));
  const state = [a, b, mix(a + 0xdaa66d2bn), mix(b + 0x78dde6e4n) | 1n] as [
    bigint,
    bigint,
    bigint,
    bigint,
  ];
  for (;;) {
    yield Number((rotate((state[0] + state[3]) & MASK, 7n) + state[0]) & MASK);
    const shifted = (state[1] << 9n) & MASK;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotate(state[3], 11n);
  }
}

for (const seed of [0, 1, 2 ** 32 + 5, Number.MAX_SAFE_INTEGER]) {
  Deno.test(`Random gives the words of xoshiro128++ when the seed is ${seed}`, () => {
    const random = new Random(seed);
    const words = expectedWords(seed);
    for (let i = 0; i < 1000; i++) assertEquals(random.nextUint32(), words.next().value);
  });
}

function numbers(seed: number, count: number): number[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => random.next());
}

Deno.test("Random gives the same numbers when the seed is the same", () => {
  assertEquals(numbers(5, 100), numbers(5, 100));
});

Deno.test("Random gives other numbers when the seed differs in any of its bits", () => {
  const seen = new Set<number>();
  const seeds = Array.from({ length: 53 }, (_, bit) => 2 ** bit);
  for (const seed of [0, ...seeds]) seen.add(numbers(seed, 1)[0]!);
  assertEquals(seen.size, 54);
});

Deno.test("Random fills every twentieth of [0, 1) evenly when a hundred thousand numbers are drawn", () => {
  const counts = new Array<number>(20).fill(0);
  for (const value of numbers(11, 100_000)) {
    assert(value >= 0 && value < 1);
    counts[Math.floor(20 * value)]!++;
  }
  const chiSquare = counts.reduce((sum, count) => sum + (count - 5000) ** 2 / 5000, 0);
  assert(chiSquare < 50.8, `chi-square of 19 degrees is ${chiSquare}`); // 1 in 10,000
});

Deno.test("Random has numbers that don't follow each other when they are taken in pairs", () => {
  const values = numbers(3, 100_001);
  let product = 0;
  for (let i = 0; i < 100_000; i++) product += (values[i]! - 0.5) * (values[i + 1]! - 0.5);
  const correlation = product / 100_000 * 12;
  assert(Math.abs(correlation) < 0.0125, `correlation is ${correlation}`); // 4 standard errors
});

Deno.test("Random takes 0 and 2^53 - 1 when they are seeds", () => {
  assertNotEquals(numbers(0, 4), numbers(Number.MAX_SAFE_INTEGER, 4));
});

for (const seed of [-1, 1.5, NaN, 2 ** 53]) {
  Deno.test(`Random refuses a seed when it is ${seed}`, () => {
    assertThrows(() => new Random(seed), RangeError, `current value is ${seed}`);
  });
}
