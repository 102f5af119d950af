/** Gradient checks, seen to pass sound backward passes and to fail wrong ones, with the place of the error. */

import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import {
  Arena,
  Attention,
  type BackwardOptions,
  BitLinear,
  BitNetConfig,
  checkGradients,
  checkLayerGradients,
  type CheckOptions,
  crossEntropy,
  defaultLayers,
  FeedForward,
  type Layers,
  Linear,
  type LogitLoss,
  type ProjectionInput,
  type Tensor,
} from "../../mod.ts";
import { onEveryDevice, openCpu } from "../support/devices.ts";

/** y = f(x) for each value of x (3, 4), times the value of w of its column, on the host. */
function checkHost(
  f: (x: number) => number,
  derivative: (x: number) => number,
  options: CheckOptions & { xs?: number[]; spoil?: (dw: Float32Array) => void } = {},
) {
  using device = openCpu();
  using arena = new Arena("test");
  const tensor = (name: string, shape: number[]) => arena.tensor(name, "float32", shape);
  const [x, dx, y, dy] = ["x", "dx", "y", "dy"].map((name) => tensor(name, [3, 4])) as [
    Tensor,
    Tensor,
    Tensor,
    Tensor,
  ];
  const [w, dw] = [tensor("w", [4]), tensor("dw", [4])];
  arena.commit(device);
  const xs = options.xs ?? Array.from({ length: 12 }, (_, i) => Math.sin(5 * i + 1));
  x.upload(Float32Array.from(xs));
  w.upload(Float32Array.of(1, -2, 0.5, 3));
  const read = () => [x, w, dy].map((one) => one.toFloat32Array()) as Float32Array[];
  return checkGradients({
    tensors: { x: { value: x, gradient: dx }, w: { value: w, gradient: dw } },
    output: y,
    outputGradient: dy,
    forward() {
      const [xs, ws] = read();
      y.upload(Float32Array.from(xs!, (value, i) => f(value) * ws![i % 4]!));
    },
    backward() {
      const [xs, ws, dys] = read();
      dx.upload(Float32Array.from(xs!, (value, i) => dys![i]! * derivative(value) * ws![i % 4]!));
      const sums = new Float32Array(4);
      xs!.forEach((value, i) => sums[i % 4]! += dys![i]! * f(value));
      options.spoil?.(sums);
      dw.upload(sums);
    },
  }, options);
}

Deno.test("checkGradients() passes a right backward pass, and one with kinks", () => {
  const smooth = checkHost(Math.tanh, (x) => 1 - Math.tanh(x) ** 2);
  assert(smooth.ok && smooth.worst.error < 1e-3, smooth.message);
  assertEquals(smooth.tensors.map(({ name, coordinates }) => [name, coordinates]), [
    ["x", 12],
    ["w", 4],
  ]);
  // Values within a step of the kink at 0, on either side.
  const xs = [1e-5, -1e-5, 0.003, -0.003, 1, -1, 2, -2, 0.5, -0.5, 1.5, -1.5];
  const kinked = checkHost((x) => Math.max(0, x), (x) => x > 0 ? 1 : 0, { xs });
  assert(kinked.ok, kinked.message);
});

Deno.test("checkGradients() names tensor, place and both values where a gradient is wrong", () => {
  const check = checkHost(Math.tanh, (x) => 1 - Math.tanh(x) ** 2, {
    spoil: (dw) => dw[1] = 1.25 * dw[1]!,
  });
  assertEquals([check.ok, check.worst.name, check.worst.at], [false, "w", [1]]);
  assertAlmostEquals(check.worst.analytic / check.worst.numeric, 1.25, 0.01);
  assertAlmostEquals(check.worst.error, 0.2, 0.01);
  assert(
    /^A gradient is wrong: the worst, of w at \(1\), is -?[\d.]+ by the backward pass and -?[\d.]+ by finite differences, an error of 0\.\d+ where 0\.01 is allowed$/
      .test(check.message),
    check.message,
  );
});

for (
  const [what, derivative] of [
    ["a factor", (x: number) => 1.05 * (1 - Math.tanh(x) ** 2)],
    ["a sign", (x: number) => -(1 - Math.tanh(x) ** 2)],
    ["the inner term", (x: number) => 1 - Math.tanh(x)],
    ["everything", () => 0],
    ["a NaN", (x: number) => x > 0.9 ? NaN : 1 - Math.tanh(x) ** 2],
    ["one value in many", (x: number) => (x > 0.9 ? 1.5 : 1) * (1 - Math.tanh(x) ** 2)],
  ] as const
) {
  Deno.test(`checkGradients() fails a backward pass that has ${what} wrong`, () => {
    const check = checkHost(Math.tanh, derivative);
    assertEquals([check.ok, check.worst.name], [false, "x"], check.message);
  });
}

Deno.test("checkGradients() fails a straight-through gradient of what rounds", () => {
  const check = checkHost((x) => Math.round(4 * x) / 4, () => 1);
  assert(!check.ok, check.message);
});

Deno.test("checkGradients() looks at as many places as it is told, spread over a tensor", () => {
  const check = checkHost(Math.tanh, (x) => 1 - Math.tanh(x) ** 2, { coordinates: 3 });
  assertEquals(check.tensors.map(({ coordinates }) => coordinates), [3, 3]);
});

const smoothed: LogitLoss = ({ logits, targets, loss, dlogits, scale }) =>
  crossEntropy({ logits, targets, loss, dlogits, gradScale: scale, smoothing: 0.1 });

Deno.test("checkLayerGradients() passes the library's own layers and losses on every device", () => {
  const config = (tieEmbeddings: boolean) =>
    new BitNetConfig({
      ...{ vocabSize: 11, hiddenSize: 12, numLayers: 1, numHeads: 3, numKvHeads: 3 },
      ...{ intermediateSize: 20, quantization: "none", hiddenAct: "relu2", tieEmbeddings },
    });
  const { loss: _, ...own } = defaultLayers(config(true));
  onEveryDevice((device) => {
    const check = checkLayerGradients(own, { device });
    assert(check.ok, check.message);
    assertEquals([...new Set(check.tensors.map(({ name }) => name.split(":")[0]))], [
      ...["projection", "attention", "feedForward", "head"],
    ]);
    const other = checkLayerGradients({ ...own, loss: smoothed }, {
      device,
      config: config(false),
    });
    assert(other.ok, other.message);
    assert(other.tensors.some(({ name }) => name === "head: lm_head.weight"));
  });
});

class WrongLinear extends Linear {
  readonly #wrong: string;
  constructor(spec: ConstructorParameters<typeof Linear>[0], wrong: string) {
    super(spec);
    this.#wrong = wrong;
  }
  override forward(x: ProjectionInput, y: Tensor, residual?: Tensor): void {
    super.forward(x, y, this.#wrong === "drops the residual" ? undefined : residual);
  }
  override backward(x: ProjectionInput, dy: Tensor, dx: Tensor, options: BackwardOptions): void {
    const { accumulate } = options;
    const turned = this.#wrong === "adds where it must write"
      ? true
      : this.#wrong === "writes where it must add"
      ? false
      : accumulate;
    super.backward(x, dy, dx, { accumulate: turned });
    if (this.#wrong === "gives no gradient of its input") dx.zero();
    if (this.#wrong === "gives half a matrix") {
      const { grad } = this.weight;
      grad.rows(3, 4).upload(grad.rows(3, 4).toFloat32Array().map((value) => value / 2));
    }
  }
}

class WrongAttention extends Attention {
  override backward(...[dout, ...others]: Parameters<Attention["backward"]>): void {
    super.backward(dout, ...others);
    dout.rows(4, 5).zero();
  }
}

class WrongFeedForward extends FeedForward {
  override backward(...args: Parameters<FeedForward["backward"]>): void {
    const [dout] = args;
    const kept = dout.toFloat32Array();
    super.backward(...args);
    dout.upload(dout.toFloat32Array().map((value, i) => value - kept[i]!)); // without the residual's
  }
}

const wrong = (what: string): Partial<Layers> => ({
  projection: (spec) => new WrongLinear(spec, what),
});

for (
  const [what, layers, place] of [
    ["adds where it must write", wrong("adds where it must write"), "projection: first.weight"],
    ["writes where it must add", wrong("writes where it must add"), "projection: first.weight"],
    ["drops the residual", wrong("drops the residual"), "projection: residual"],
    [
      "gives no gradient of its input",
      wrong("gives no gradient of its input"),
      "projection: input",
    ],
    ["gives half a matrix", wrong("gives half a matrix"), "projection: first.weight"],
    [
      "forgets a token",
      { attention: (context, layer) => new WrongAttention(context, layer) },
      "attention: input",
    ],
    [
      "forgets the residual's gradient",
      { feedForward: (context, layer) => new WrongFeedForward(context, layer) },
      "feedForward: input",
    ],
    ["ignores scale", { loss: (rows) => smoothed({ ...rows, scale: 1 }) }, "head: "],
    [
      "has another loss than its gradient",
      {
        loss(rows) {
          smoothed(rows);
          if (rows.dlogits === null) crossEntropy({ ...pick(rows), smoothing: 0.4 });
        },
      },
      "head: ",
    ],
    [
      "teaches where there is no target",
      {
        loss(rows) {
          const targets = rows.targets.download(new Int32Array(rows.targets.length));
          rows.targets.upload(targets.map((target) => Math.max(0, target)));
          const { dlogits } = rows;
          smoothed(rows);
          rows.targets.upload(targets);
          if (dlogits === null) smoothed(rows);
        },
      },
      "head: ",
    ],
  ] as [string, Partial<Layers>, string][]
) {
  Deno.test(`checkLayerGradients() fails a layer that ${what}`, () => {
    const check = checkLayerGradients(layers);
    assertEquals(check.ok, false, check.message);
    assert(check.worst.name.startsWith(place), check.message);
  });
}

function pick({ logits, targets, loss }: Parameters<LogitLoss>[0]) {
  return { logits, targets, loss };
}

Deno.test("checkLayerGradients() refuses to look through a quantiser, and to look at nothing", () => {
  const config = new BitNetConfig({ hiddenSize: 8, numLayers: 1, numHeads: 2 });
  const layers: Partial<Layers> = { projection: (spec) => new BitLinear(spec) };
  assertThrows(
    () => checkLayerGradients(layers, { config }),
    RangeError,
    "current value is ternary",
  );
  assertThrows(() => checkLayerGradients(layers), TypeError, "must be quantised");
  assertThrows(() => checkLayerGradients({}), RangeError, "there must be a layer");
});
