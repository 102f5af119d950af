import { assert, assertEquals, assertLess, assertNotEquals, assertThrows } from "@std/assert";
import { DataError } from "../../lib/data/errors.ts";
import { Permutation } from "../../lib/data/permutation.ts";
import { WindowSampler } from "../../lib/data/sampler.ts";
import { sequence } from "./support.ts";

function take(sampler: WindowSampler, count: number): number[] {
  return Array.from({ length: count }, () => sampler.next());
}

Deno.test("Permutation visits every index exactly once whatever the size", () => {
  for (const size of [1, 2, 3, 4, 5, 7, 16, 17, 31, 100, 257, 1000, 4096, 4097, 10007]) {
    const order = new Permutation(size, [42, 1]);
    const seen = sequence(size).map((place) => order.at(place)).sort((a, b) => a - b);
    assertEquals(seen, sequence(size), `size ${size}`);
  }
});

Deno.test("Permutation stays in range and one-to-one beyond 2^32 indices", () => {
  const size = 2 ** 40 - 87;
  const order = new Permutation(size, [7]);
  const seen = new Set<number>();
  for (let place = size - 20000; place < size; place++) {
    const index = order.at(place);
    assert(Number.isSafeInteger(index) && index >= 0 && index < size);
    seen.add(index);
  }
  assertEquals(seen.size, 20000);
});

Deno.test("Permutation puts every index at every place equally often over the seeds", () => {
  const size = 12;
  const trials = 12000;
  const counts = new Float64Array(size * size);
  for (let seed = 0; seed < trials; seed++) {
    const order = new Permutation(size, [seed, 0]);
    for (let place = 0; place < size; place++) counts[place * size + order.at(place)]! += 1;
  }
  const expected = trials / size;
  const chiSquare = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
  // 121 degrees of freedom: mean 121, standard deviation 15.6; the bound is 5 of them above.
  assertLess(chiSquare, 121 + 5 * 15.6);
});

Deno.test("Permutation scatters neighbours when the range is large", () => {
  const size = 100003;
  const order = new Permutation(size, [3, 0]);
  let small = 0;
  for (let place = 1; place < 20000; place++) {
    if (Math.abs(order.at(place) - order.at(place - 1)) < size / 100) small++;
  }
  // Two random indices are that near with probability 0.0199: 398 of 19999, standard deviation 19.8.
  assert(Math.abs(small - 398) < 100, `${small} near neighbours`);
});

Deno.test("WindowSampler takes every window once an epoch, in another order each epoch", () => {
  const sampler = new WindowSampler(500, { seed: 9 });
  const first = take(sampler, 500);
  const second = take(sampler, 500);
  assertEquals([...first].sort((a, b) => a - b), sequence(500));
  assertEquals([...second].sort((a, b) => a - b), sequence(500));
  assertNotEquals(first, second);
});

Deno.test("WindowSampler gives the same order for the same seed and another for another", () => {
  const orders = [1, 1, 2].map((seed) => take(new WindowSampler(200, { seed }), 200));
  assertEquals(orders[0], orders[1]);
  assertNotEquals(orders[0], orders[2]);
});

Deno.test("WindowSampler.seek() goes on as if never interrupted, across the end of an epoch", () => {
  const straight = take(new WindowSampler(100, { seed: 5 }), 350);
  const one = new WindowSampler(100, { seed: 5 });
  take(one, 237);
  const two = new WindowSampler(100, { seed: 5 });
  two.seek(JSON.parse(JSON.stringify(one.state)));
  assertEquals(take(two, 113), straight.slice(237));
});

Deno.test("WindowSampler.skip() equals taking that many windows", () => {
  for (const count of [0, 1, 99, 100, 101, 1234]) {
    const taken = new WindowSampler(100, { seed: 5 });
    const skipped = new WindowSampler(100, { seed: 5 });
    take(taken, count);
    skipped.skip(count);
    assertEquals([skipped.state, skipped.next()], [taken.state, taken.next()]);
  }
});

Deno.test("WindowSampler.skip() takes no longer for a billion windows than for one", () => {
  const sampler = new WindowSampler(1_000_003, { seed: 5 });
  sampler.skip(10 ** 12);
  assertEquals(sampler.state.epoch, Math.floor(10 ** 12 / 1_000_003));
});

Deno.test("WindowSampler takes windows in ascending order when shuffle is off", () => {
  assertEquals(take(new WindowSampler(4, { seed: 1, shuffle: false }), 6), [0, 1, 2, 3, 0, 1]);
});

Deno.test("WindowSampler.seek() throws when the state is of another data set or seed", () => {
  const sampler = new WindowSampler(100, { seed: 5 });
  for (const change of [{ windowCount: 99 }, { seed: 6 }, { position: 100 }, { epoch: -1 }]) {
    assertThrows(() => sampler.seek({ ...sampler.state, ...change }), DataError, "Cannot resume");
  }
});
