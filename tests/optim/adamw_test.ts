import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertGreater,
  assertLess,
  assertThrows,
} from "@std/assert";
import type { Device } from "../../lib/ffi/device.ts";
import { Graph } from "../../lib/ffi/graph.ts";
import { AdamW, type AdamWOptions, type AdamWState } from "../../lib/optim/adamw.ts";
import { Arena } from "../../lib/tensor/arena.ts";
import type { Tensor } from "../../lib/tensor/tensor.ts";
import { toBfloat16 } from "../support/bfloat16.ts";
import { assertSameBits } from "../support/compare.ts";
import { cudaTest, onEveryDevice, openCpu } from "../support/devices.ts";
import { Random, withRandom } from "../support/random.ts";

const STATES = ["fp32", "bf16", "int8"] as const;
const STEP = { lr: 1e-2, weightDecay: () => 0 };

/** Groups of these lengths with an optimizer over them. */
class Setup implements Disposable {
  readonly arena = new Arena("test");
  readonly groups: { group: string; value: Tensor; grad: Tensor }[];
  readonly optimizer: AdamW;

  constructor(
    device: Device,
    lengths: Record<string, number>,
    options: AdamWOptions & { gradientDtype?: "float32" | "bfloat16" } = {},
  ) {
    const { gradientDtype = "float32", ...rest } = options;
    this.groups = Object.entries(lengths).map(([group, n]) => ({
      group,
      value: this.arena.tensor(group, "float32", [n]),
      grad: this.arena.tensor(
        `${group}.grad`,
        group === "projections" ? gradientDtype : "float32",
        [n],
      ),
    }));
    this.arena.commit(device);
    this.optimizer = new AdamW(this, rest).commit(device);
  }

  fill(random: Random): void {
    for (const { value, grad } of this.groups) {
      value.upload(random.normals(value.length));
      const values = random.normals(grad.length);
      grad.upload(grad.dtype === "float32" ? values : toBfloat16(values));
    }
  }

  /** Every number that training changes. */
  bytes(): Uint8Array[] {
    const tensors = this.groups.flatMap(({ group, value }) => {
      const { m, v, mAbsmax, vAbsmax } = this.optimizer.moments(group);
      return [value, m, v, mAbsmax, vAbsmax].filter((tensor) => tensor !== null);
    });
    return tensors.map((tensor) => tensor.download(new Uint8Array(tensor.bytes)));
  }

  [Symbol.dispose](): void {
    this.optimizer[Symbol.dispose]();
    this.arena[Symbol.dispose]();
  }
}

const LENGTHS = { projections: 1000, embeddings: 300, norms: 20 };

Deno.test("AdamW keeps moments of projections as `state` says, and those of embeddings and norms in float32", () => {
  const dtypes = { fp32: "float32", bf16: "bfloat16", int8: "uint8" };
  using device = openCpu();
  for (const state of STATES) {
    using setup = new Setup(device, LENGTHS, { state });
    const { m, v, mAbsmax } = setup.optimizer.moments("projections");
    assertEquals([m.dtype, v.dtype], [dtypes[state], dtypes[state]]);
    assertEquals(mAbsmax?.shape, state === "int8" ? [4] : undefined);
    for (const group of ["embeddings", "norms"]) {
      assertEquals(setup.optimizer.moments(group).m.dtype, "float32");
    }
  }
});

Deno.test("AdamW takes 8, 4 and 2.03 bytes a projection", () => {
  const value = new Arena("test").tensor("w", "float32", [2 ** 20]);
  const bytes = STATES.map((state) =>
    new AdamW({ groups: [{ group: "projections", value, grad: null }] }, { state }).bytes / 2 ** 20
  );
  for (const [index, expected] of [8, 4, 2.03125].entries()) {
    assertLess(Math.abs(bytes[index]! - expected), 1e-3);
  }
});

Deno.test(
  "gradNorm() is the norm over all groups, whatever their dtypes",
  withRandom((random) => {
    onEveryDevice((device) => {
      for (const gradientDtype of ["float32", "bfloat16"] as const) {
        using setup = new Setup(device, { projections: 2, embeddings: 1, norms: 1 }, {
          gradientDtype,
        });
        setup.fill(random);
        const [projections, embeddings, norms] = setup.groups;
        const two = Float32Array.of(1, 2);
        projections!.grad.upload(gradientDtype === "float32" ? two : toBfloat16(two));
        embeddings!.grad.upload(Float32Array.of(-4));
        norms!.grad.upload(Float32Array.of(10));
        setup.optimizer.step(STEP);
        assertEquals(setup.optimizer.gradNorm(), 11);
        assertEquals([...setup.optimizer.gradNormTensor.toFloat32Array()], [11]);
      }
    });
  }),
);

for (const state of STATES) {
  Deno.test(
    `step() of ${state} moments is not counted and changes nothing when a gradient is NaN, the first one included`,
    withRandom((random) => {
      onEveryDevice((device) => {
        using setup = new Setup(device, LENGTHS, { state });
        setup.fill(random);
        const good = random.normals(LENGTHS.norms);
        const { grad } = setup.groups[2]!;
        for (const counted of [0, 1, 2]) {
          const before = setup.bytes();
          grad.upload(good.map((value, i) => i === 7 ? NaN : value));
          setup.optimizer.step(STEP);
          assertEquals(Number.isFinite(setup.optimizer.gradNorm()), false);
          assertEquals(setup.optimizer.updates, counted);
          setup.bytes().forEach((actual, i) =>
            assertSameBits({ name: `tensor ${i}`, actual, expected: before[i]! })
          );
          grad.upload(good);
          setup.optimizer.step(STEP);
          assertEquals(setup.optimizer.updates, counted + 1);
        }
      });
    }),
  );

  Deno.test(
    `step() of ${state} moments is prepare() and update(), and goes on from restored updates in the same bits`,
    withRandom((random) => {
      onEveryDevice((device) => {
        using one = new Setup(device, LENGTHS, { state });
        using other = new Setup(device, LENGTHS, { state });
        const seed = random.word();
        one.fill(new Random(seed));
        other.fill(new Random(seed));
        for (let step = 0; step < 3; step++) one.optimizer.step(STEP);
        for (let step = 0; step < 3; step++) {
          other.optimizer.prepare(STEP);
          other.optimizer.update();
        }
        const compare = () =>
          one.bytes().forEach((expected, i) =>
            assertSameBits({ name: `tensor ${i}`, actual: other.bytes()[i]!, expected })
          );
        compare();
        const updates = other.optimizer.updates;
        other.optimizer.restoreUpdates(0);
        assertEquals(other.optimizer.updates, 0);
        other.optimizer.restoreUpdates(updates);
        one.optimizer.step(STEP);
        other.optimizer.step(STEP);
        compare();
      });
    }),
  );
}

Deno.test("restoreUpdates() refuses what is no count", () => {
  using device = openCpu();
  using setup = new Setup(device, LENGTHS);
  for (const updates of [-1, 1.5, NaN, 2 ** 31]) {
    assertThrows(
      () => setup.optimizer.restoreUpdates(updates),
      RangeError,
      `current value is ${updates}`,
    );
  }
});

/** Loss after training on noisy least squares whose columns differ by four powers of ten. */
function leastSquares(device: Device, state: AdamWState): { before: number; after: number } {
  const n = 600, random = new Random(5);
  const scale = Float32Array.from({ length: n }, (_, i) => 10 ** (-4 * i / n));
  const wanted = random.normals(n);
  using setup = new Setup(device, { projections: n }, { state });
  const { value, grad } = setup.groups[0]!;
  const loss = () =>
    value.toFloat32Array().reduce((sum, w, i) => sum + (w - wanted[i]!) ** 2, 0) / n;
  const before = loss(), steps = 800;
  for (let step = 0; step < steps; step++) {
    const w = value.toFloat32Array();
    grad.upload(w.map((w, i) => scale[i]! * (w - wanted[i]! + 0.2 * random.normal())));
    setup.optimizer.step({ lr: 2e-2 * (1 - step / steps), weightDecay: () => 0 });
  }
  return { before, after: loss() };
}

Deno.test("AdamW converges with moments in bfloat16 and int8 nearly as with float32", () => {
  using device = openCpu();
  const exact = leastSquares(device, "fp32");
  assertLess(exact.after, exact.before / 200);
  for (const state of ["bf16", "int8"] as const) {
    const { after } = leastSquares(device, state);
    assertLess(after, 1.5 * exact.after, `${state}: ${after}, float32: ${exact.after}`);
    assertGreater(after, exact.after / 1.5, `${state}: ${after}, float32: ${exact.after}`);
  }
});

Deno.test(
  "step() leaves what is not trained out of norm, decay and update",
  withRandom((random) => {
    onEveryDevice((device) => {
      for (const state of STATES) {
        using setup = new Setup(device, { projections: 768, embeddings: 4, norms: 3 }, { state });
        setup.fill(random);
        const [projections, embeddings, norms] = setup.groups;
        const trained = [
          [{ from: 0, to: 256 }, { from: 512, to: 768 }],
          [{ from: 1, to: 3 }],
          [],
        ];
        const groups = setup.groups.map((group, i) => ({ ...group, trained: trained[i]! }));
        using optimizer = new AdamW({ groups }, { state, maxGradNorm: 0 }).commit(device);
        const gradient = new Float32Array(768).fill(100, 256, 512);
        gradient[0] = 3;
        gradient[767] = 4;
        projections!.grad.upload(gradient);
        embeddings!.grad.upload(Float32Array.of(NaN, 12, 84, Infinity));
        norms!.grad.upload(new Float32Array(3).fill(NaN));
        const values = () => setup.groups.map(({ value }) => value.toFloat32Array());
        const before = values();
        optimizer.step({ lr: 0.5, weightDecay: () => 0.25 });
        assertEquals(optimizer.gradNorm(), Math.hypot(3, 4, 12, 84)); // 85
        const after = values();
        const isTrained = (group: number, i: number) =>
          trained[group]!.some(({ from, to }) => i >= from && i < to);
        for (const [group, flat] of after.entries()) {
          for (const [i, value] of flat.entries()) {
            const old = before[group]![i]!;
            // Decay alone moves those of no gradient, the first step of AdamW the others by the
            // rate.
            const g = [gradient, [0, 12, 84, 0], [0, 0, 0]][group]![i]!;
            const moved = old * (1 - 0.5 * 0.25) - 0.5 * Math.sign(g);
            if (isTrained(group, i)) assertAlmostEquals(value, moved, 1e-4, `${group} ${i}`);
            else assertEquals(value, old, `${group} ${i}`);
          }
        }
        const { m } = optimizer.moments("embeddings");
        assertEquals([...m.toFloat32Array()].map((value) => value !== 0), [
          false,
          true,
          true,
          false,
        ]);
      }
    });
  }),
);

Deno.test("step() takes a learning rate for each group, which gives the bits of that rate alone", () => {
  using device = openCpu();
  const run = (lr: number | ((group: string) => number)) => {
    using setup = new Setup(device, LENGTHS, { maxGradNorm: 0 });
    setup.fill(new Random(11));
    setup.optimizer.step({ lr, weightDecay: () => 0.1 });
    return setup.groups.map(({ value }) => value.toFloat32Array());
  };
  const [whole, tenth] = [run(1e-2), run(1e-3)];
  const own = run((group) => group === "embeddings" ? 1e-3 : 1e-2);
  assertEquals(own, [whole[0], tenth[1], whole[2]]);
});

Deno.test("AdamW refuses frozen ends within a block of int8 moments, and a model of which nothing is trained", () => {
  const value = new Arena("test").tensor("w", "float32", [700]);
  const groups = (from: number, to: number) => [
    { group: "projections", value, grad: null, trained: [{ from, to }] },
  ];
  for (const [from, to] of [[0, 144], [144, 700]] as const) {
    assertThrows(
      () => new AdamW({ groups: groups(from, to) }, { state: "int8" }),
      RangeError,
      `a trained range from element ${from} to ${to} of 700`,
    );
    new AdamW({ groups: groups(from, to) }, { state: "bf16" });
  }
  new AdamW({ groups: groups(256, 700) }, { state: "int8" });
  const none = { group: "norms", value, grad: null, trained: [] };
  assertThrows(() => new AdamW({ groups: [none] }), RangeError, "every parameter is frozen");
});

for (const state of STATES) {
  cudaTest(
    `a recorded update() of ${state} moments gives the bits of steps, a skipped one among them`,
    (device, random) => {
      const seed = random.word();
      const run = (recorded: boolean) => {
        using setup = new Setup(device, { projections: 70_001, embeddings: 300, norms: 20 }, {
          state,
          gradientDtype: "bfloat16",
        });
        setup.fill(new Random(seed));
        const { grad } = setup.groups[2]!;
        setup.optimizer.prepare(STEP);
        using graph = recorded ? Graph.record(device, () => setup.optimizer.update()) : null;
        const generator = new Random(seed + 1);
        for (let step = 0; step < 6; step++) {
          const values = generator.normals(grad.length);
          grad.upload(step % 3 === 1 ? values.fill(NaN, 0, 1) : values);
          setup.optimizer.prepare({ ...STEP, lr: 1e-2 / (step + 1) });
          if (graph === null) setup.optimizer.update();
          else graph.launch();
        }
        assertEquals(setup.optimizer.updates, 4);
        return setup.bytes();
      };
      const expected = run(false);
      assert(expected.some((bytes) => bytes.some((byte) => byte !== 0)));
      run(true).forEach((actual, i) =>
        assertSameBits({ name: `tensor ${i}`, actual, expected: expected[i]! })
      );
    },
  );
}

for (
  const [options, message] of [
    [{ beta2: 0.9999999999 }, "beta2 must be from 0 to below 1 in float32"],
    [{ beta1: -0.1 }, "beta1 must be from 0 to below 1 in float32"],
    [{ eps: 1e-300 }, "eps must be above 0 in float32"],
    [{ maxGradNorm: 1e300 }, "maxGradNorm must be 0, or above 0 in float32"],
  ] satisfies [AdamWOptions, string][]
) {
  Deno.test(`AdamW refuses ${JSON.stringify(options)} by its name`, () => {
    using device = openCpu();
    assertThrows(() => new Setup(device, { norms: 4 }, options), RangeError, message);
  });
}

Deno.test("prepare() refuses a rate that float32 can't hold, by its group", () => {
  using device = openCpu();
  using setup = new Setup(device, { norms: 4 });
  const step = { lr: 1e300, weightDecay: () => 0 };
  assertThrows(() => setup.optimizer.prepare(step), RangeError, "lr of norms must be");
});
