/**
 * Gradients of layers of one's own, against finite differences, each layer alone on a small network's shapes.
 *
 * Letters: B sequences, T tokens of a sequence, N = B · T, D hidden size, V vocabulary.
 *
 * @module
 */

import { Device, type DeviceOptions } from "../ffi/device.ts";
import type { DeviceKind } from "../ffi/library.ts";
import { randomNormal } from "../kernels/random.ts";
import { Arena } from "../tensor/arena.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { PassMemory } from "./activations.ts";
import {
  type CheckedPass,
  type CheckedTensor,
  checkGradients,
  type CheckOptions,
  type GradientCheck,
  gradientCheck,
  type GradientError,
} from "./check_gradients.ts";
import { BitNetConfig } from "./config.ts";
import { LayerContext, type Layers } from "./layers.ts";
import type { Parameter } from "./parameters.ts";
import { ropeTable } from "./rope.ts";

/** Options of {@linkcode checkLayerGradients}. */
export interface LayerCheckOptions extends CheckOptions {
  /** What the layers are made for; `quantization` must be `none`. @default a network of hidden size 8 */
  readonly config?: BitNetConfig;
  /** A device of the caller's, or which one to open. @default "cpu" */
  readonly device?: Device | DeviceKind | DeviceOptions;
}

/** A layer's pass, as {@linkcode underTest} needs it. */
interface LayerPass {
  readonly inputs: Readonly<Record<string, CheckedTensor>>;
  readonly output: Tensor;
  readonly outputGradient: Tensor | number;
  forward(): void;
  /** `share` is the part of the output's gradient that it runs with; a tensor holds that part already. */
  backward(options: { accumulate: boolean; share: number }): void;
}

const SEQUENCES = 2;
const TOKENS = 5;
const N = SEQUENCES * TOKENS;
/** Rows of logits at a time: the loss comes in three pieces. */
const LOGIT_ROWS = 4;
const SCALE = 0.25;

/**
 * Checks the layers that a run or a model would be given: of each kind a layer is made, run forward and backward, and compared with finite
 * differences, by its inputs and each of its parameters. That gradients add where they must, and are written anew where they must, is part
 * of it.
 *
 * Throws `RangeError` for a config that quantises: finite differences can't see a straight-through gradient.
 */
export function checkLayerGradients(
  layers: Partial<Layers>,
  options: LayerCheckOptions = {},
): GradientCheck {
  const { device: given = "cpu", config = smallConfig(), tolerance = 0.01 } = options;
  if (config.quantization !== "none") {
    throw new RangeError(
      `Cannot check gradients as quantization must be none, whose steps finite differences would see: current value is ${config.quantization}`,
    );
  }
  const kinds = (["projection", "attention", "feedForward", "head"] as const).filter((kind) =>
    layers[kind] !== undefined || (kind === "head" && layers.loss !== undefined)
  );
  if (kinds.length === 0) {
    throw new RangeError("Cannot check gradients as there must be a layer: current value is none");
  }
  const owned = !(given instanceof Device);
  const device = owned ? Device.open(typeof given === "string" ? { kind: given } : given) : given;
  try {
    const errors = kinds.flatMap((kind) => checkKind(kind, { layers, config, device, options }));
    return gradientCheck(errors, tolerance);
  } finally {
    if (owned) device[Symbol.dispose]();
  }
}

function smallConfig(): BitNetConfig {
  return new BitNetConfig({
    ...{ vocabSize: 13, hiddenSize: 8, numLayers: 1, numHeads: 2, numKvHeads: 1 },
    ...{ intermediateSize: 12, maxSeqLen: TOKENS, quantization: "none" },
  });
}

function checkKind(
  kind: "projection" | "attention" | "feedForward" | "head",
  parts: {
    layers: Partial<Layers>;
    config: BitNetConfig;
    device: Device;
    options: LayerCheckOptions;
  },
): readonly GradientError[] {
  const { layers, config, device, options } = parts;
  const context = new LayerContext(config, { layers });
  using arena = new Arena("gradient check");
  using memory = new PassMemory(config, {
    ...{ sequences: SEQUENCES, tokens: TOKENS, training: true },
  }, "float32");
  const make = { projection, attention, feedForward, head }[kind];
  const pass = make({ context, arena, memory });
  using parameters = context.parameters;
  using derived = context.derived;
  parameters.layOut({ gradients: true });
  for (const part of [parameters, derived, memory, arena]) part.commit(device);
  const { seed = 0 } = options;
  for (const [stream, parameter] of parameters.all.entries()) {
    fill(parameter.value, { seed, stream: stream + 1, about: parameter.group === "norms" ? 1 : 0 });
  }
  const start = parameters.all.length + 1;
  for (const [stream, { value }] of Object.values(pass.inputs).entries()) {
    fill(value, { seed, stream: start + stream, std: 1 });
  }
  pass.begin?.();
  const found = checkGradients(underTest(pass, context), options);
  return found.tensors.map((error) => ({ ...error, name: `${kind}: ${error.name}` }));
}

/** Draws from N(about, std²). */
function fill(
  tensor: Tensor,
  { seed, stream, std = 0.35, about = 0 }: {
    seed: number;
    stream: number;
    std?: number;
    about?: number;
  },
): void {
  randomNormal({ to: tensor, std, seed: BigInt(seed), stream: BigInt(stream) });
  if (about !== 0) tensor.upload(tensor.toFloat32Array().map((value) => value + about));
}

/**
 * The pass with its parameters. Their gradients come in two parts, a quarter written over what must not stay and the rest added, so that
 * either done wrong is an error; the input's comes of a third, whole, backward pass.
 */
function underTest(pass: LayerPass, { parameters, projections }: LayerContext): CheckedPass {
  const trained = parameters.all as readonly (Parameter & { grad: Tensor })[];
  const { outputGradient } = pass;
  const forward = () => {
    for (const projection of projections) projection.prepare();
    pass.forward();
  };
  return {
    tensors: {
      ...pass.inputs,
      ...Object.fromEntries(
        trained.map(({ name, value, grad }) => [name, { value, gradient: grad }]),
      ),
    },
    output: pass.output,
    outputGradient,
    forward,
    backward() {
      const whole = typeof outputGradient === "number" ? null : outputGradient.toFloat32Array();
      const values = Object.values(pass.inputs).map(({ value }) =>
        [value, value.toFloat32Array()] as const
      );
      const run = (share: number, accumulate: boolean) => {
        // A pass may change what it reads, the gradient of its output by design.
        for (const [value, before] of values) value.upload(before);
        forward();
        if (whole !== null) (outputGradient as Tensor).upload(whole.map((value) => share * value));
        pass.backward({ accumulate, share });
      };
      for (const { group, grad } of trained) {
        if (group === "projections") grad.upload(new Float32Array(grad.length).fill(7));
      }
      run(0.25, false);
      run(0.75, true);
      const kept = trained.map(({ grad }) => grad.toFloat32Array());
      run(1, false);
      for (const [i, { grad }] of trained.entries()) grad.upload(kept[i]!);
    },
  };
}

interface Parts {
  readonly context: LayerContext;
  readonly arena: Arena;
  readonly memory: PassMemory;
}

type PlannedPass = LayerPass & {
  /** Fills what is neither input nor parameter, once there is memory. */
  begin?(): void;
};

/** A projection of two stacked matrices, with a residual. */
function projection({ context, arena, memory }: Parts): PlannedPass {
  const made = context.projection({
    parts: [{ name: "first", outFeatures: 6 }, { name: "second", outFeatures: 5 }],
    inFeatures: context.config.hiddenSize,
  });
  const input = memory.projectionInput("input", made.inFeatures);
  const tensor = (name: string, width: number) => arena.tensor(name, "float32", [N, width]);
  const dinput = tensor("input.grad", made.inFeatures);
  const [y, dy] = [tensor("output", made.outFeatures), tensor("output.grad", made.outFeatures)];
  const residual = tensor("residual", made.outFeatures);
  const dresidual = tensor("residual.grad", made.outFeatures);
  return {
    inputs: {
      input: { value: input.y!, gradient: dinput },
      residual: { value: residual, gradient: dresidual },
    },
    output: y,
    outputGradient: dy,
    forward: () => made.forward(input, y, residual),
    backward({ accumulate }) {
      dresidual.copyFrom(dy);
      made.backward(input, dy, dinput, { accumulate });
    },
  };
}

function residualStream({ context, arena }: Parts) {
  const tensor = (name: string) => arena.tensor(name, "float32", [N, context.config.hiddenSize]);
  return { x: tensor("input"), out: tensor("output"), dx: tensor("output.grad") };
}

function attention(parts: Parts): PlannedPass {
  const { context, arena, memory } = parts;
  const { headDim, ropeTheta } = context.config;
  const made = context.layers.attention(context, 0);
  const planned = memory.scratchScope(() => made.plan(memory, null));
  const cosSin = arena.tensor("cos_sin", "float32", [TOKENS, headDim]);
  const positions = { cosSin, start: null };
  const { x, out, dx } = residualStream(parts);
  return {
    inputs: { input: { value: x, gradient: dx } },
    output: out,
    outputGradient: dx,
    begin: () => cosSin.upload(ropeTable(TOKENS, headDim, ropeTheta)),
    forward: () => made.forward(x, planned, positions, out),
    backward: ({ accumulate }) => made.backward(dx, x, planned, { accumulate, positions }),
  };
}

function feedForward(parts: Parts): PlannedPass {
  const { context, memory } = parts;
  const made = context.layers.feedForward(context, 0);
  const planned = memory.scratchScope(() => made.plan(memory));
  const { x, out, dx } = residualStream(parts);
  return {
    inputs: { input: { value: x, gradient: dx } },
    output: out,
    outputGradient: dx,
    forward: () => made.forward(x, planned, out),
    backward: ({ accumulate }) => made.backward(dx, x, planned, { accumulate }),
  };
}

/** The head with the loss that training minimises; a row has no target. */
function head({ context, arena }: Parts): PlannedPass {
  const { vocabSize, hiddenSize } = context.config;
  const embedding = context.parameters.declare({
    group: "embeddings",
    parts: [{ name: "model.embed_tokens.weight", shape: [vocabSize, hiddenSize] }],
  });
  const made = context.layers.head(context, embedding);
  const ids = arena.tensor("ids", "int32", [SEQUENCES, TOKENS]);
  const targets = arena.tensor("targets", "int32", [N]);
  const x = arena.tensor("input", "float32", [N, hiddenSize]);
  const dx = arena.tensor("input.grad", "float32", [N, hiddenSize]);
  const loss = arena.tensor("loss", "float32", [N]);
  const workspace = arena.tensor("logits", "float32", [LOGIT_ROWS, vocabSize]);
  const run = (gradient?: { dx: Tensor; scale: number }) => {
    made.trainingLoss(x, { ids, targets }, { loss, workspace, dlogits: null }, gradient);
  };
  return {
    inputs: { input: { value: x, gradient: dx } },
    output: loss,
    outputGradient: SCALE,
    begin() {
      ids.upload(Int32Array.from({ length: N }, (_, i) => i % vocabSize));
      targets.upload(Int32Array.from({ length: N }, (_, i) => i === 3 ? -1 : (i + 1) % vocabSize));
    },
    forward() {
      made.prepare();
      run();
    },
    backward: ({ share }) => run({ dx, scale: share * SCALE }),
  };
}
