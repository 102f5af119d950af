/**
 * Trains a small model and leaves all that another framework needs to do the same: its initial weights, every batch, and the
 * rates of every step. loss_curve.py then trains by PyTorch and compares.
 *
 *     deno run -A tests/reference/loss_curve.ts --device cuda --steps 200 --out curve --tokens data/sotu.tokens
 *     python3 tests/reference/loss_curve.py --in curve
 *
 * Files in the folder:
 *
 * - `weights.safetensors`: initial float32 weights by Hugging Face's names
 * - `batches.bin`: int32 little-endian ids, (steps, sequences, tokens + 1): inputs and, one later, their targets
 * - `run.json`: the model's shape, AdamW's constants, learning rate and weight decay of every step (norms have no decay)
 * - `titanbit.json`: loss and gradient norm of every step
 */

import { parseArgs } from "@std/cli";
import { join } from "@std/path";
import { BatchLoader } from "../../lib/data/loader.ts";
import { TokenDataset } from "../../lib/data/shards.ts";
import { readTokenFileInfo } from "../../lib/data/token_format.ts";
import { Device } from "../../lib/ffi/device.ts";
import { writeSafetensors } from "../../lib/interop/safetensors.ts";
import { BitNetConfig, type Quantization } from "../../lib/model/config.ts";
import type { Pass } from "../../lib/model/pass.ts";
import { BitNetTransformer } from "../../lib/model/transformer.ts";
import { AdamW } from "../../lib/optim/adamw.ts";
import { createSchedule } from "../../lib/optim/schedule.ts";
import { parameterTensors } from "../../lib/checkpoint/parameter_tensors.ts";

const SEQUENCES = 64; // 16,384 tokens a step: small batches let two runs drift apart by chance alone
const TOKENS = 256;
const SYNTHETIC_VOCABULARY = 4096;
const ADAMW = { beta1: 0.9, beta2: 0.95, eps: 1e-8, maxGradNorm: 1 };

interface StepRates {
  readonly lr: number;
  readonly weight_decay: number;
}

interface CurvePoint {
  readonly step: number;
  readonly loss: number;
  readonly grad_norm: number;
}

/** Windows of TOKENS + 1 ids: (steps, SEQUENCES, TOKENS + 1). */
interface Batches {
  readonly vocabSize: number;
  readonly windows: Int32Array<ArrayBuffer>;
}

async function main(): Promise<void> {
  const args = parseArgs(Deno.args, {
    string: ["device", "steps", "out", "tokens", "quantization", "seed", "dtype"],
    default: { device: "auto", steps: "200", quantization: "ternary", seed: "1337" },
  });
  const out = args.out as string | undefined;
  if (out === undefined) {
    throw new Error("Cannot run without --out FOLDER: give the folder for weights and curves");
  }
  const tokens = args.tokens as string | undefined;
  const steps = Number(args.steps);
  const seed = Number(args.seed);
  using device = Device.open({ kind: args.device as "auto" | "cuda" | "cpu" });
  const batches = tokens === undefined
    ? syntheticBatches(steps, seed)
    : batchesOf(tokens, { steps, seed, device });
  const config = new BitNetConfig({
    vocabSize: batches.vocabSize,
    hiddenSize: 256,
    numLayers: 4,
    numHeads: 4,
    numKvHeads: 2,
    intermediateSize: 768,
    maxSeqLen: TOKENS,
    quantization: args.quantization as Quantization,
  });
  const rates = ratesOf(steps);
  using model = BitNetTransformer.create(config, {
    device,
    seed,
    ...(args.dtype !== undefined && { dtype: args.dtype as "float32" | "bfloat16" }),
  });
  Deno.mkdirSync(out, { recursive: true });
  await writeWeights(join(out, "weights.safetensors"), model);
  Deno.writeFileSync(join(out, "batches.bin"), new Uint8Array(batches.windows.buffer));
  writeJson(join(out, "run.json"), describeRun(config, rates));
  const points = train(model, { batches, rates });
  writeJson(join(out, "titanbit.json"), {
    name: `TitanBit, ${device.backend}`,
    device: device.description.name,
    dtype: model.dtype,
    tokens_per_step: SEQUENCES * TOKENS,
    steps: points,
  });
}

/** Trains by the library's own modules, one step for each of `rates`. */
function train(
  model: BitNetTransformer,
  { batches, rates }: { batches: Batches; rates: readonly StepRates[] },
): CurvePoint[] {
  using optimizer = new AdamW(model.parameters, ADAMW).commit(model.device);
  using pass = model.plan({ sequences: SEQUENCES, tokens: TOKENS, training: true })
    .commit(model.device);
  const ids = new Int32Array(SEQUENCES * TOKENS);
  const targets = new Int32Array(SEQUENCES * TOKENS);
  const points: CurvePoint[] = [];
  for (const [index, { lr, weight_decay }] of rates.entries()) {
    split(batches.windows, index, { ids, targets });
    model.parameters.zeroGradients();
    pass.ids.upload(ids);
    pass.targets.upload(targets);
    const loss = forwardAndBackward(pass);
    optimizer.step({
      lr,
      weightDecay: (group) => group === "norms" ? 0 : weight_decay,
    });
    model.parametersChanged();
    points.push({ step: index + 1, loss: loss(), grad_norm: optimizer.gradNorm() });
    if (index % 10 === 0 || index === rates.length - 1) {
      const { step, loss, grad_norm } = points.at(-1)!;
      console.log(`step ${step}: loss ${loss.toFixed(5)}, grad norm ${grad_norm.toFixed(4)}`);
    }
  }
  return points;
}

/** Queues a step's passes; the result reads the loss. */
function forwardAndBackward(pass: Pass): () => number {
  const perToken = 1 / pass.memory.rows;
  pass.forward();
  pass.backward({ gradScale: perToken });
  pass.addLoss({ scale: perToken, first: true });
  return () => pass.readLoss();
}

/** Inputs and targets of a step's windows. */
function split(
  windows: Int32Array,
  step: number,
  { ids, targets }: { ids: Int32Array; targets: Int32Array },
): void {
  for (let sequence = 0; sequence < SEQUENCES; sequence++) {
    const start = (step * SEQUENCES + sequence) * (TOKENS + 1);
    ids.set(windows.subarray(start, start + TOKENS), sequence * TOKENS);
    targets.set(windows.subarray(start + 1, start + TOKENS + 1), sequence * TOKENS);
  }
}

/** A tenth of the steps of warm-up, then half a cosine down to a tenth of the peak. */
function ratesOf(steps: number): StepRates[] {
  const schedule = createSchedule({
    type: "cosine",
    lr: 1e-3,
    steps,
    warmupSteps: Math.floor(steps / 10),
    minLrRatio: 0.1,
    weightDecay: 0.1,
  });
  return Array.from({ length: steps }, (_, step) => ({
    lr: schedule.lrAt(step),
    weight_decay: schedule.weightDecayAt(step),
  }));
}

/** Batches out of a token file, in the order that training takes. */
function batchesOf(
  path: string,
  { steps, seed, device }: { steps: number; seed: number; device: Device },
): Batches {
  const { vocabSize } = readTokenFileInfo(path);
  if (vocabSize === null) {
    throw new Error(`Cannot take batches of ${path} as its header must name the vocabulary`);
  }
  using dataset = TokenDataset.open(path, { library: device.library, vocabSize });
  const loader = new BatchLoader(dataset, { batchSize: SEQUENCES, seqLen: TOKENS, seed });
  const windows = new Int32Array(steps * SEQUENCES * (TOKENS + 1));
  const ids = new Int32Array(SEQUENCES * TOKENS);
  const targets = new Int32Array(SEQUENCES * TOKENS);
  for (let step = 0; step < steps; step++) {
    loader.next({ ids, targets });
    for (let sequence = 0; sequence < SEQUENCES; sequence++) {
      const row = [sequence * TOKENS, (sequence + 1) * TOKENS] as const;
      const start = (step * SEQUENCES + sequence) * (TOKENS + 1);
      windows.set(ids.subarray(...row), start);
      windows[start + TOKENS] = targets[row[1] - 1]!;
    }
  }
  return { vocabSize, windows };
}

/**
 * A language of its own: after each word come, of eight words that follow it alone, the earlier ones more often; one word in
 * sixteen is any, the common ones more often.
 */
function syntheticBatches(steps: number, seed: number): Batches {
  const random = mulberry32(seed);
  const vocabSize = SYNTHETIC_VOCABULARY;
  const anyWord = () => Math.floor(vocabSize ** random()) - 1; // about 1 / rank
  const followers = Int32Array.from({ length: vocabSize * 8 }, anyWord);
  const windows = new Int32Array(steps * SEQUENCES * (TOKENS + 1));
  let word = 0;
  for (let index = 0; index < windows.length; index++) {
    const choice = Math.floor(8 * random() ** 2);
    word = random() < 1 / 16 ? anyWord() : followers[word * 8 + choice]!;
    windows[index] = word;
  }
  return { vocabSize, windows };
}

/** Numbers from 0 to 1, the same for a seed everywhere. */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

async function writeWeights(path: string, model: BitNetTransformer): Promise<void> {
  using file = Deno.openSync(path, { write: true, create: true, truncate: true });
  await writeSafetensors(file, parameterTensors(model.parameters));
}

function describeRun(config: BitNetConfig, steps: readonly StepRates[]): unknown {
  return {
    model: {
      vocab_size: config.vocabSize,
      hidden_size: config.hiddenSize,
      num_layers: config.numLayers,
      num_heads: config.numHeads,
      num_kv_heads: config.numKvHeads,
      intermediate_size: config.intermediateSize,
      tie_embeddings: config.tieEmbeddings,
      rope_theta: config.ropeTheta,
      rms_norm_eps: config.rmsNormEps,
      quantization: config.quantization,
    },
    optimizer: {
      betas: [ADAMW.beta1, ADAMW.beta2],
      eps: ADAMW.eps,
      max_grad_norm: ADAMW.maxGradNorm,
    },
    batch: { sequences: SEQUENCES, tokens: TOKENS },
    weights: "weights.safetensors",
    batches: "batches.bin",
    steps,
  };
}

function writeJson(path: string, value: unknown): void {
  Deno.writeTextFileSync(path, JSON.stringify(value, null, 1) + "\n");
}

if (import.meta.main) await main();
