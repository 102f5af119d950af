/**
 * One forward and backward pass of a model over batches of a fixed shape, on memory that is planned once.
 *
 * Letters: B sequences, T tokens of a sequence, N = B · T, D hidden size, V vocabulary.
 *
 * @module
 */

import type { Device } from "../ffi/device.ts";
import { embeddingBackward, embeddingForward } from "../kernels/embedding.ts";
import { headLossBytes } from "../kernels/head_loss.ts";
import { sum } from "../kernels/reduce.ts";
import type { DType } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { PassMemory, type PassShape, type ProjectionInput } from "./activations.ts";
import type { Positions } from "./attention.ts";
import type { BlockMemory } from "./block.ts";
import type { LossMemory } from "./head.ts";
import type { PassCache } from "./kv_cache.ts";
import { ropeTable } from "./rope.ts";
import type { BitNetTransformer } from "./transformer.ts";

/**
 * Bytes of float32 logits that the loss computes at a time, where the vocabulary allows. On the CPU they stay in the cache of
 * a large core; a card needs some thousand rows for products of full speed, and reads the head's gradient once a chunk.
 */
const LOGITS_BYTES: Partial<Record<DType, number>> = { float32: 16 << 20, bfloat16: 256 << 20 };
const MIN_LOGIT_ROWS = 64;

/** Options of a pass. */
export interface PassOptions extends PassShape {
  /** Keys and values of earlier tokens; only without a backward pass. */
  readonly cache?: PassCache;
}

/** Forward and backward over (B, T) tokens. It owns its memory: hold it with `using`. */
export class Pass implements Disposable {
  readonly memory: PassMemory;
  /** (N) int32: the tokens, to be filled before a forward pass. */
  readonly ids: Tensor;
  /** (N) int32: the token to predict at each position, negative to ignore. */
  readonly targets: Tensor;
  /** (N) float32: cross-entropy of each token in nats, after a loss or backward pass. */
  readonly tokenLoss: Tensor;
  /** (1) float32: where {@linkcode Pass.addLoss} adds up. */
  readonly lossSum: Tensor;
  readonly #model: BitNetTransformer;
  readonly #cache: PassCache | null;
  readonly #embedded: Tensor; // (N, D), the residual stream's start
  readonly #blocks: readonly BlockMemory[];
  readonly #normed: ProjectionInput; // (N, D)
  readonly #rstd: Tensor; // (N)
  readonly #workspace: Tensor; // (rows, V), logits of some rows
  readonly #dlogits: Tensor | null; // as many rows of their gradient, where a loss of the model's own has it apart
  readonly #gradients: { residual: Tensor; normed: Tensor } | null; // (N, D) each
  readonly #positions: Positions;

  /** Plans the memory; {@linkcode Pass.commit} takes it. */
  constructor(model: BitNetTransformer, options: PassOptions) {
    const { config } = model;
    const cache = options.cache ?? null;
    if (cache !== null && options.training) {
      throw new RangeError("Cannot plan a backward pass through a KV cache");
    }
    const memory = new PassMemory(config, options, model.dtype);
    const { rows } = memory;
    const { hiddenSize, headDim } = config;
    this.#model = model;
    this.#cache = cache;
    this.memory = memory;
    this.ids = memory.saved("ids", [rows], "int32");
    this.targets = memory.saved("targets", [rows], "int32");
    this.tokenLoss = memory.saved("loss", [rows], "float32");
    this.lossSum = memory.saved("loss.sum", [1], "float32");
    this.#positions = {
      cosSin: memory.saved("cos_sin", [cache?.capacity ?? memory.tokens, headDim], "float32"),
      start: cache?.start ?? null,
    };
    this.#embedded = memory.saved("embedded", [rows, hiddenSize], "float32");
    // Before the blocks' scratch, which shares its memory: these outlive it.
    this.#gradients = options.training
      ? {
        residual: memory.scratch("residual.grad", [rows, hiddenSize]),
        normed: memory.scratch("normed.grad", [rows, hiddenSize]),
      }
      : null;
    let x = this.#embedded;
    this.#blocks = model.blocks.map((block, layer) => {
      const planned = block.plan(memory, x, cache?.layers[layer] ?? null);
      x = planned.output;
      return planned;
    });
    this.#normed = { q: null, scale: null, y: memory.saved("normed", [rows, hiddenSize]) };
    this.#rstd = memory.saved("normed.rstd", [rows], "float32");
    const { rows: logitRows, apart } = this.#planLogits();
    const { vocabSize } = config;
    this.#workspace = memory.scratch("logits.chunk", [logitRows, vocabSize], "float32");
    this.#dlogits = apart ? memory.scratch("logits.chunk.grad", [logitRows, vocabSize]) : null;
  }

  /** Takes the planned memory. */
  commit(device: Device): this {
    this.memory.commit(device);
    const { headDim, ropeTheta } = this.#model.config;
    const positions = this.#positions.cosSin.shape[0]!;
    this.#positions.cosSin.upload(ropeTable(positions, headDim, ropeTheta));
    return this;
  }

  /**
   * Runs `ids` up to the final norm. With a KV cache, the tokens follow the ones it holds and join them. `ran` is told of each block
   * while all of its tensors are there.
   */
  forward(options: { ran?: (memory: BlockMemory, layer: number) => void } = {}): void {
    this.#model.prepare();
    this.compute(options);
    this.#cache?.advance(this.memory.tokens);
  }

  /**
   * The ops of {@linkcode Pass.forward} alone, which a graph can record: the model must be prepared, and the cache has to be told of
   * its new tokens afterwards.
   */
  compute(options: { ran?: (memory: BlockMemory, layer: number) => void } = {}): void {
    const model = this.#model;
    embeddingForward({ ids: this.ids, table: model.embedding.value, out: this.#embedded });
    let x = this.#embedded;
    for (const [layer, block] of model.blocks.entries()) {
      const memory = this.#blocks[layer]!;
      block.forward(x, memory, this.#positions);
      options.ran?.(memory, layer);
      x = memory.output;
    }
    model.norm.forward(x, this.#normed, this.#rstd);
  }

  /**
   * Shows the tensors of every block of the last pass. Where the pass keeps them, they are what the forward pass left; else `ids`
   * run forward again, through the weights as they are now. Throws `Error` for a pass without a backward pass.
   */
  showBlocks(show: (memory: BlockMemory, layer: number) => void): void {
    if (!this.memory.training) {
      throw new Error("Cannot show a pass's blocks as it was planned without a backward pass");
    }
    if (this.memory.recompute === "none") this.#blocks.forEach(show);
    else this.forward({ ran: show });
  }

  /**
   * Cross-entropy of every token of the last forward pass, in `tokenLoss`; `scale` times their sum. With `trained` it is the loss that
   * the model trains with, where that is its own. Waits for the device.
   */
  loss(options: { scale: number; trained?: boolean }): number {
    const { head } = this.#model;
    if (options.trained) head.trainingLoss(this.#normedValues, this.#batch, this.#lossMemory);
    else head.loss(this.#normedValues, this.targets, this.#lossMemory);
    this.addLoss({ scale: options.scale, first: true });
    return this.readLoss();
  }

  /** Cross-entropy of every token of the last forward pass, 0 where there is no target. Waits for the device. */
  tokenLosses(): Float32Array {
    this.#model.head.loss(this.#normedValues, this.targets, this.#lossMemory);
    return this.tokenLoss.toFloat32Array();
  }

  /** Adds `scale` times the sum of `tokenLoss` to `lossSum`, which starts anew where `first`. */
  addLoss(options: { scale: number; first: boolean }): void {
    const { scale, first } = options;
    sum({ x: this.tokenLoss, scale, out: this.lossSum, accumulate: !first });
  }

  /** The value of `lossSum`. Waits for the device. */
  readLoss(): number {
    return this.lossSum.toFloat32Array()[0]!;
  }

  /**
   * The loss of the last forward pass, in `tokenLoss`, and its backward pass: adds gradScale · dloss to the gradients of the
   * parameters, loss being the sum over tokens. Without `accumulate` those of the projections are written anew, whatever they held,
   * which saves reading and clearing most of the gradients' memory; embeddings and norms are always added to.
   */
  backward(options: { gradScale: number; accumulate?: boolean }): void {
    const { accumulate = true } = options;
    const model = this.#model;
    const gradients = this.#gradients;
    if (gradients === null) {
      throw new Error("Cannot run a backward pass as the pass was planned without one");
    }
    model.head.trainingLoss(this.#normedValues, this.#batch, this.#lossMemory, {
      dx: gradients.normed,
      scale: options.gradScale,
    });
    const dx = gradients.residual;
    const last = this.#blocks.at(-1)!.output;
    model.norm.backward(gradients.normed, { x: last, rstd: this.#rstd }, dx, {
      accumulate: false,
    });
    for (let layer = model.blocks.length - 1; layer >= 0; layer--) {
      const x = layer === 0 ? this.#embedded : this.#blocks[layer - 1]!.output;
      const block = model.blocks[layer]!;
      const memory = this.#blocks[layer]!;
      // What the forward pass left of its last block is still there.
      if (this.memory.recompute === "block" && layer < model.blocks.length - 1) {
        block.recompute(x, memory, this.#positions);
      }
      block.backward(dx, x, memory, { accumulate, positions: this.#positions });
    }
    embeddingBackward({ ids: this.ids, dout: dx, dtable: model.embedding.grad });
  }

  /** Rows of logits that {@linkcode Pass.computeLogits} has room for. */
  get logitRows(): number {
    return this.#workspace.shape[0]!;
  }

  /** Logits of rows `from` to `to` (exclusive) of the last forward pass, (to - from, V) float32, until others take their place. */
  computeLogits(from: number, to: number): Tensor {
    const logits = this.#workspace.rows(0, to - from);
    this.#model.head.logits(this.#normedValues.rows(from, to), logits);
    return logits;
  }

  /** Logits of row `row` of the last forward pass, (V) float32, copied to the host. */
  logitsOf(row: number, into: Float32Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
    return this.computeLogits(row, row + 1).download(into);
  }

  /** Logits of every row of the last forward pass, (N, V) float32, copied to the host some rows at a time. */
  logits(): Float32Array<ArrayBuffer> {
    const { rows } = this.memory;
    const vocabSize = this.#model.config.vocabSize;
    const chunk = this.#workspace.shape[0]!;
    const all = new Float32Array(rows * vocabSize);
    for (let from = 0; from < rows; from += chunk) {
      const to = Math.min(rows, from + chunk);
      this.computeLogits(from, to).download(all.subarray(from * vocabSize, to * vocabSize));
    }
    return all;
  }

  [Symbol.dispose](): void {
    this.memory[Symbol.dispose]();
  }

  /**
   * Rows of logits at a time, and room for their gradient where that has a dtype of its own: behind them, or, where a loss of the
   * model's own writes it, in a tensor apart.
   */
  #planLogits(): { rows: number; apart: boolean } {
    const { dtype, rows, training } = this.memory;
    const { vocabSize } = this.#model.config;
    const bytes = LOGITS_BYTES[dtype] ?? 0;
    const atOnce = Math.min(rows, Math.max(MIN_LOGIT_ROWS, Math.floor(bytes / (4 * vocabSize))));
    if (this.#model.head.hasOwnLoss) {
      return { rows: atOnce, apart: training && dtype !== "float32" };
    }
    const room = training ? headLossBytes(vocabSize, dtype) / (4 * vocabSize) : 1;
    return { rows: Math.ceil(atOnce * room), apart: false };
  }

  get #normedValues(): Tensor {
    return this.#normed.y!;
  }

  get #batch(): { ids: Tensor; targets: Tensor } {
    const { sequences, tokens } = this.memory;
    return { ids: this.ids.view([sequences, tokens]), targets: this.targets };
  }

  get #lossMemory(): LossMemory {
    return { loss: this.tokenLoss, workspace: this.#workspace, dlogits: this.#dlogits };
  }
}
