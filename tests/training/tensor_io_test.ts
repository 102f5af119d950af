/** Checkpoints of each way of keeping moments: saved, opened, gone on with. */

import { assertEquals, assertRejects } from "@std/assert";
import { CheckpointError } from "../../lib/checkpoint/errors.ts";
import { openCheckpoint, verifyCheckpoint } from "../../lib/checkpoint/open.ts";
import { saveCheckpoint } from "../../lib/checkpoint/save.ts";
import { SafetensorsFile } from "../../lib/interop/safetensors.ts";
import { BitNetConfig } from "../../lib/model/config.ts";
import { BitNetTransformer } from "../../lib/model/transformer.ts";
import { AdamW, type AdamWState } from "../../lib/optim/adamw.ts";
import { parameterTensors } from "../../lib/checkpoint/parameter_tensors.ts";
import { optimizerTensors } from "../../lib/training/tensor_io.ts";
import { assertSameBits } from "../support/compare.ts";

const STATES = ["fp32", "bf16", "int8"] as const;

// Projections of 12 x 12, 6 x 12 and 20 x 12: their ends lie inside of blocks of 256.
const CONFIG = new BitNetConfig({
  vocabSize: 37,
  hiddenSize: 12,
  numLayers: 2,
  numHeads: 2,
  numKvHeads: 1,
  intermediateSize: 20,
  maxSeqLen: 16,
});
const IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8, 9];

/** A model in training. */
class Run implements Disposable {
  readonly model: BitNetTransformer;
  readonly optimizer: AdamW;

  constructor(state: AdamWState, seed: number) {
    this.model = BitNetTransformer.create(CONFIG, { device: "cpu", seed });
    this.optimizer = new AdamW(this.model.parameters, { state }).commit(this.model.device);
  }

  train(steps: number): void {
    for (let step = 0; step < steps; step++) {
      this.model.parameters.zeroGradients();
      this.model.forward(IDS, { labels: IDS });
      this.model.backward();
      this.optimizer.step({ lr: 1e-2, weightDecay: () => 0.1 });
      this.model.parametersChanged();
    }
  }

  tensors() {
    return {
      parameters: parameterTensors(this.model.parameters),
      optimizer: optimizerTensors(this.model.parameters, this.optimizer),
    };
  }

  /** Every byte of weights and moments. */
  bytes(): Uint8Array[] {
    return this.model.parameters.groups.flatMap(({ group, value }) => {
      const { m, v, mAbsmax, vAbsmax } = this.optimizer.moments(group);
      return [value, m, v, mAbsmax, vAbsmax].filter((tensor) => tensor !== null)
        .map((tensor) => tensor.download(new Uint8Array(tensor.bytes)));
    });
  }

  [Symbol.dispose](): void {
    this.optimizer[Symbol.dispose]();
    this.model[Symbol.dispose]();
  }
}

/** Saves a run of 5 steps and gives its folder to `body`. */
async function withSaved(
  state: AdamWState,
  body: (path: string, run: Run) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    using run = new Run(state, 1);
    run.train(5);
    const { path } = await saveCheckpoint(folder, {
      step: 5,
      model: CONFIG,
      ...run.tensors(),
      state: { step: 5, tokens: 60 },
      runConfig: "",
      tokenizerJson: null,
    });
    await body(path, run);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

for (const state of STATES) {
  Deno.test(`a run with ${state} moments goes on from its checkpoint in the same bits`, async () => {
    await withSaved(state, async (path, run) => {
      const checkpoint = await openCheckpoint(path);
      assertEquals(checkpoint.optimizerState, state);
      using resumed = new Run(state, 2);
      await checkpoint.restore(resumed.tensors());
      resumed.optimizer.restoreUpdates(run.optimizer.updates);
      resumed.model.parametersChanged();
      for (const steps of [0, 3]) {
        run.train(steps);
        resumed.train(steps);
        const expected = run.bytes();
        resumed.bytes().forEach((actual, i) =>
          assertSameBits({
            name: `tensor ${i} after ${steps} steps`,
            actual,
            expected: expected[i]!,
          })
        );
      }
    });
  });

  for (const other of STATES.filter((other) => other !== state)) {
    Deno.test(`a checkpoint with ${state} moments is refused where optimizer.state is ${other}`, async () => {
      await withSaved(state, async (path) => {
        const checkpoint = await openCheckpoint(path);
        using run = new Run(other, 2);
        const before = run.bytes();
        const dtypes = { fp32: "F32", bf16: "BF16", int8: "U8" };
        const error = await assertRejects(() => checkpoint.restore(run.tensors()), CheckpointError);
        assertEquals(
          error.message,
          `Cannot resume from ${path} as tensor "model.layers.0.self_attn.q_proj.weight.exp_avg" must be ${
            dtypes[other]
          } where optimizer.state is ${other}: current value is ${
            dtypes[state]
          }; go on with optimizer.state ${state}`,
        );
        run.bytes().forEach((actual, i) =>
          assertSameBits({ name: `tensor ${i}`, actual, expected: before[i]! })
        );
      });
    });
  }
}

Deno.test("optimizerTensors() names codes and their scales, and keeps embeddings and norms in float32", async () => {
  await withSaved("int8", async (path) => {
    assertEquals(await verifyCheckpoint(path), []);
    using file = SafetensorsFile.open(`${path}/optimizer.safetensors`);
    const spec = (name: string) => {
      const { dtype, shape } = file.tensors.get(name)!;
      return [dtype, ...shape];
    };
    assertEquals(spec("model.layers.1.mlp.up_proj.weight.exp_avg_sq"), ["U8", 20, 12]);
    assertEquals(spec("model.embed_tokens.weight.exp_avg"), ["F32", 37, 12]);
    assertEquals(spec("model.norm.weight.exp_avg_sq"), ["F32", 12]);
    // 2 (2 * 144 + 2 * 72 + 3 * 240) elements
    assertEquals(spec("optimizer.projections.exp_avg.absmax"), ["F32", 9]);
    assertEquals(spec("optimizer.projections.exp_avg_sq.absmax"), ["F32", 9]);
  });
});
