import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import {
  createCandidates,
  likeliest,
  pickCandidate,
  Sampler,
  type SamplingOptions,
  selectCandidates,
} from "../../lib/inference/sampler.ts";
import { Random, withRandom } from "../support/random.ts";

const INF = Infinity;

interface Choice {
  id: number;
  probability: number;
}

/** The distribution, by sorting everything. */
function expectedChoices(
  logits: Float32Array,
  options: { temperature: number; topK: number; topP: number },
): Choice[] {
  const { temperature, topK, topP } = options;
  const top = Math.max(...logits);
  let choices = Array.from(logits, (logit, id) => ({
    id,
    logit,
    probability: Math.exp((logit - top) / temperature),
  })).sort((a, b) => b.logit > a.logit ? 1 : b.logit < a.logit ? -1 : a.id - b.id);
  if (topK > 0) choices = choices.slice(0, topK);
  const total = choices.reduce((sum, choice) => sum + choice.probability, 0);
  if (topP < 1) {
    let mass = 0;
    let kept = 0;
    while (kept < choices.length && mass < topP * total) mass += choices[kept++]!.probability;
    choices = choices.slice(0, kept);
  }
  const kept = choices.reduce((sum, choice) => sum + choice.probability, 0);
  return choices.map(({ id, probability }) => ({ id, probability: probability / kept }))
    .filter(({ probability }) => probability > 0).sort((a, b) => a.id - b.id);
}

function choices(
  logits: Float32Array,
  options: { temperature?: number; topK?: number; topP?: number },
): Choice[] {
  const { temperature = 1, topK = 0, topP = 1 } = options;
  const candidates = createCandidates(logits.length);
  selectCandidates(logits, { temperature, topK, topP }, candidates);
  const { ids, weights, count, total } = candidates;
  return Array.from({ length: count }, (_, i) => ({
    id: ids[i]!,
    probability: weights[i]! / total,
  })).filter(({ probability }) => probability > 0).sort((a, b) => a.id - b.id);
}

function assertSameChoices(actual: Choice[], expected: Choice[]): void {
  assertEquals(actual.map(({ id }) => id), expected.map(({ id }) => id));
  for (const [i, choice] of actual.entries()) {
    assertAlmostEquals(choice.probability, expected[i]!.probability, 1e-12);
  }
}

function sample(logits: readonly number[], options: SamplingOptions, count: number): number[] {
  const sampler = new Sampler(logits.length, options);
  const values = Float32Array.from(logits);
  return Array.from({ length: count }, () => sampler.next(values));
}

Deno.test(
  "selectCandidates() agrees with sorting everything when logits and options are random",
  withRandom((random) => {
    for (let round = 0; round < 300; round++) {
      const vocabSize = random.integer(1, 200);
      // Halves make ties, the spread goes from flat to peaked.
      const spread = 2 ** random.integer(-3, 4);
      const logits = Float32Array.from(
        { length: vocabSize },
        () => random.uniform() < 0.1 ? -INF : Math.round(2 * spread * random.normal()) / 2,
      );
      logits[random.integer(0, vocabSize - 1)] = 1;
      const options = {
        temperature: 0.25 + 2 * random.uniform(),
        topK: random.integer(0, 1) * random.integer(1, vocabSize + 10),
        topP: random.integer(0, 1) === 0 ? 1 : 0.01 + 0.98 * random.uniform(),
      };
      assertSameChoices(choices(logits, options), expectedChoices(logits, options));
    }
  }),
);

Deno.test("selectCandidates() lists the likeliest first when top-k is on", () => {
  const candidates = createCandidates(5);
  const logits = Float32Array.of(0, 3, 1, 4, 2);
  selectCandidates(logits, { temperature: 1, topK: 3, topP: 1 }, candidates);
  assertEquals([...candidates.ids.subarray(0, candidates.count)], [3, 1, 4]);
});

Deno.test("selectCandidates() keeps every token when top-k is more than there are", () => {
  assertEquals(choices(Float32Array.of(1, 2, 3), { topK: 4 }).length, 3);
});

Deno.test("selectCandidates() keeps the lower ids when top-k cuts through equals", () => {
  const kept = choices(Float32Array.of(1, 5, 1, 1), { topK: 3 });
  assertEquals(kept.map(({ id }) => id), [0, 1, 2]);
});

Deno.test("selectCandidates() keeps the likeliest token when top-p is below its probability", () => {
  assertEquals(choices(Float32Array.of(0, 2, 1), { topP: 1e-9 }), [{ id: 1, probability: 1 }]);
});

Deno.test("selectCandidates() leaves out tokens when their logits are -Infinity", () => {
  const kept = choices(Float32Array.of(-INF, 0, -INF, 0), { topP: 0.99 });
  assertEquals(kept.map(({ id }) => id), [1, 3]);
});

Deno.test("selectCandidates() does not overflow when the temperature is tiny", () => {
  const kept = choices(Float32Array.of(100, -100, 99.99), { temperature: 1e-30 });
  assertEquals(kept, [{ id: 0, probability: 1 }]);
});

Deno.test("likeliest() takes the lowest id when logits are equal", () => {
  assertEquals(likeliest(Float32Array.of(-1, 4, 4, 3)), 1);
});

for (const bad of [NaN, INF]) {
  Deno.test(`likeliest() names the token when its logit is ${bad}`, () => {
    const logits = Float32Array.of(1, 2, bad, 3);
    assertThrows(() => likeliest(logits), RangeError, `token 2 is ${bad}`);
  });
}

Deno.test("likeliest() refuses to choose when every logit is -Infinity", () => {
  const logits = new Float32Array(3).fill(-INF);
  assertThrows(() => likeliest(logits), RangeError, "all -Infinity");
});

Deno.test("pickCandidate() gives each candidate its share when the uniform number goes from 0 to 1", () => {
  const candidates = { ids: Int32Array.of(7, 3, 9), weights: Float64Array.of(1, 2, 1) };
  const at = (uniform: number) => pickCandidate({ ...candidates, total: 4, count: 3 }, uniform);
  assertEquals([0, 0.2499, 0.25, 0.7499, 0.75, 1 - 2 ** -53].map(at), [7, 7, 3, 3, 9, 9]);
});

Deno.test("pickCandidate() never takes a token of weight 0 when it comes last", () => {
  const candidates = { ids: Int32Array.of(1, 2), weights: Float64Array.of(1, 0) };
  assertEquals(pickCandidate({ ...candidates, total: 1.0000001, count: 2 }, 1 - 2 ** -53), 1);
});

Deno.test("Sampler takes the likeliest token every time when the temperature is 0", () => {
  assertEquals(sample([1, 1.001, 1], { temperature: 0 }, 20), new Array(20).fill(1));
});

Deno.test("Sampler makes the same choices when the seed is the same", () => {
  const logits = [0, 1, 2, 3];
  assertEquals(sample(logits, { seed: 9 }, 50), sample(logits, { seed: 9 }, 50));
});

Deno.test("Sampler makes other choices when the seed is another", () => {
  const logits = new Array<number>(64).fill(0);
  const first = sample(logits, { seed: 1 }, 20).join();
  assert(first !== sample(logits, { seed: 2 }, 20).join());
});

Deno.test("Sampler draws tokens as often as they are likely when it draws many", () => {
  const random = new Random(1);
  const logits = Array.from({ length: 12 }, () => 2 * random.normal());
  const options = { temperature: 0.7, topK: 8, topP: 0.95, seed: 4 };
  const expected = expectedChoices(Float32Array.from(logits), options);
  const drawn = sample(logits, options, 60_000);
  let chiSquare = 0;
  for (const { id, probability } of expected) {
    const count = drawn.filter((other) => other === id).length;
    chiSquare += (count - 60_000 * probability) ** 2 / (60_000 * probability);
  }
  assert(drawn.every((id) => expected.some((choice) => choice.id === id)));
  assert(chiSquare < 30, `chi-square of ${expected.length - 1} degrees is ${chiSquare}`);
});

const WRONG: [SamplingOptions, string][] = [
  [{ temperature: -0.1 }, "temperature must be a number from 0: current value is -0.1"],
  [{ temperature: NaN }, "temperature"],
  [{ temperature: INF }, "temperature"],
  [{ topK: -1 }, "top-k must be a whole number from 0: current value is -1"],
  [{ topK: 2.5 }, "top-k"],
  [{ topP: 0 }, "top-p must be above 0 and at most 1: current value is 0"],
  [{ topP: 1.1 }, "top-p"],
  [{ seed: -3 }, "seed"],
];
for (const [options, message] of WRONG) {
  const [[name, value]] = Object.entries(options) as [[string, number]];
  Deno.test(`Sampler names the option when ${name} is ${value}`, () => {
    assertThrows(() => new Sampler(10, options), RangeError, message);
  });
}

Deno.test(
  "Sampler.nextOfTop() chooses what next() does when it is given the largest logits in order",
  withRandom((random) => {
    const cases: SamplingOptions[] = [
      { temperature: 0 },
      { topK: 1 },
      { topK: 9 },
      { topK: 50, topP: 0.7, temperature: 1.3 },
    ];
    for (const options of cases) {
      const whole = new Sampler(300, options), top = new Sampler(300, options);
      for (let token = 0; token < 50; token++) {
        const logits = random.normals(300, 3).map((x) => Math.round(4 * x) / 4); // many equal
        const order = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]! || a - b);
        const ids = Int32Array.from(order.slice(0, top.topK));
        const values = Float32Array.from(ids, (id) => logits[id]!);
        assertEquals(top.nextOfTop(ids, values), whole.next(logits));
      }
    }
  }),
);

for (
  const [values, message] of [[[NaN, 3], "token 7 is NaN"], [[INF, 3], "token 7 is Infinity"], [[
    -INF,
    -INF,
  ], "all -Infinity"]] as const
) {
  Deno.test(`Sampler.nextOfTop() refuses when the largest logit is ${values[0]}`, () => {
    for (const temperature of [0, 1]) {
      const sampler = new Sampler(10, { temperature, topK: 2 });
      assertThrows(
        () => sampler.nextOfTop(Int32Array.of(7, 1), Float32Array.from(values)),
        RangeError,
        message,
      );
    }
  });
}
