import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { Random } from "../../lib/inference/random.ts";

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
