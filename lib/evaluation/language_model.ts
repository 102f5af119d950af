/**
 * How well a model predicts the tokens of a data set: loss, perplexity, bits per byte.
 *
 * Letters: B sequences, T tokens of a window.
 *
 * @module
 */

import { DataError } from "../data/errors.ts";
import { countEvaluationWindows, EvaluationReader, IGNORED_TARGET } from "../data/evaluation.ts";
import type { TokenDataset } from "../data/shards.ts";
import type { Pass } from "../model/pass.ts";
import type { BitNetTransformer } from "../model/transformer.ts";
import { bitsPerByte, perplexity } from "./bits_per_byte.ts";
import type { TokenBytes } from "./token_bytes.ts";

/** Tokens of a batch where the caller does not say how many windows one has: enough to keep the matrix products busy. */
const BATCH_TOKENS = 2048;

/** Options of {@linkcode LanguageModelEvaluator}. */
export interface EvaluatorOptions {
  /** T: tokens of a window. @default the pass's, else the model's maxSeqLen */
  readonly seqLen?: number;
  /** B: windows of a batch. @default the pass's, else as many as hold 2048 tokens */
  readonly batchSize?: number;
  /** A committed pass of the caller's to run on, of shape (B, T); one for training will do. @default one of its own */
  readonly pass?: Pass;
  /** What tells the bytes of the text; without it there are no bits per byte. @default null */
  readonly tokenBytes?: TokenBytes | null;
}

/** What part of a data set is scored, and how. */
export interface EvaluateOptions {
  /** Tokens from one window's start to the next: a smaller one gives more context and takes longer. @default T */
  readonly stride?: number;
  /** Stops after so many scored tokens. @default all */
  readonly maxTokens?: number;
  /** Told after every batch. */
  readonly onProgress?: (progress: EvaluationProgress) => void;
}

/** How far an evaluation is. */
export interface EvaluationProgress {
  readonly tokens: number;
  readonly totalTokens: number;
  /** Of the tokens so far. */
  readonly loss: number;
}

/** What an evaluation found. NaN where the model's answers are not finite. */
export interface Evaluation {
  /** Mean cross-entropy in nats a token. */
  readonly loss: number;
  readonly perplexity: number;
  /** Sum of the cross-entropies in bits by the bytes of the scored text; null where the bytes can't be told. */
  readonly bitsPerByte: number | null;
  /** Tokens scored. */
  readonly tokens: number;
  /** Of them, ends of documents: their cost counts, but they have no bytes. Null as bitsPerByte. */
  readonly endTokens: number | null;
  /** Bytes of the scored text in UTF-8. Null as bitsPerByte. */
  readonly bytes: number | null;
  readonly ms: number;
}

/** Evaluates a model on memory that is planned once. Hold it with `using` unless it runs on the caller's pass. */
export class LanguageModelEvaluator implements Disposable {
  /** T. */
  readonly seqLen: number;
  /** B. */
  readonly batchSize: number;
  readonly #pass: Pass;
  readonly #ownsPass: boolean;
  readonly #tokenBytes: TokenBytes | null;
  readonly #ids: Int32Array<ArrayBuffer>; // (B, T)
  readonly #targets: Int32Array<ArrayBuffer>; // (B, T)

  /** Throws `RangeError` for sizes that are no whole numbers above 0, or not those of the pass. */
  constructor(model: BitNetTransformer, options: EvaluatorOptions = {}) {
    const { pass } = options;
    this.seqLen = options.seqLen ?? pass?.memory.tokens ?? model.config.maxSeqLen;
    this.batchSize = options.batchSize ?? pass?.memory.sequences ??
      Math.max(1, Math.floor(BATCH_TOKENS / this.seqLen));
    checkCounts({ seqLen: this.seqLen, batchSize: this.batchSize });
    if (
      pass !== undefined &&
      (pass.memory.tokens !== this.seqLen || pass.memory.sequences !== this.batchSize)
    ) {
      throw new RangeError(
        `Cannot evaluate as the pass must have the shape (${this.batchSize}, ${this.seqLen}): ` +
          `current shape is (${pass.memory.sequences}, ${pass.memory.tokens})`,
      );
    }
    this.#tokenBytes = options.tokenBytes ?? null;
    this.#ownsPass = pass === undefined;
    this.#pass = pass ?? model.plan({
      sequences: this.batchSize,
      tokens: this.seqLen,
      training: false,
    }).commit(model.device);
    this.#ids = new Int32Array(this.batchSize * this.seqLen);
    this.#targets = new Int32Array(this.batchSize * this.seqLen);
  }

  /**
   * Scores every token of the data once, but for the first of each file, which has nothing before it. A token is predicted from
   * those before it in its window: all of them in the first, at least T - stride in the others.
   *
   * Throws {@linkcode DataError} for an id outside the vocabulary or data of a single token, `RangeError` for an option out of
   * range.
   */
  run(dataset: TokenDataset, options: EvaluateOptions = {}): Evaluation {
    const started = performance.now();
    checkCounts({ maxTokens: options.maxTokens ?? 1 });
    const { stride = this.seqLen, maxTokens = Infinity } = options;
    const { seqLen, batchSize } = this;
    const reader = new EvaluationReader(dataset, { seqLen, stride, batchSize });
    const { targets } = countEvaluationWindows(dataset, { seqLen, stride });
    const totalTokens = Math.min(targets, maxTokens);
    const sums = { nats: 0, tokens: 0, bytes: 0, endTokens: 0 };
    const batch = { ids: this.#ids, targets: this.#targets };
    while (sums.tokens < totalTokens && reader.next(batch) !== null) {
      this.#count(sums, totalTokens);
      this.#pass.ids.upload(this.#ids);
      this.#pass.targets.upload(this.#targets);
      this.#pass.forward();
      // Token by token in float64, so that the sum does not depend on how many windows a batch has.
      for (const nats of this.#pass.tokenLosses()) sums.nats += nats;
      const { tokens } = sums;
      options.onProgress?.({ tokens, totalTokens, loss: sums.nats / tokens });
    }
    const { nats, tokens, bytes, endTokens } = sums;
    if (tokens === 0) {
      throw new DataError(
        "Cannot evaluate a model as the data must hold at least two tokens, one to predict from the other: " +
          `current count is ${dataset.tokenCount}; give more text`,
      );
    }
    const known = this.#tokenBytes !== null;
    return {
      loss: nats / tokens,
      perplexity: perplexity(nats / tokens),
      bitsPerByte: known ? bitsPerByte({ nats, bytes }) : null,
      tokens,
      endTokens: known ? endTokens : null,
      bytes: known ? bytes : null,
      ms: performance.now() - started,
    };
  }

  [Symbol.dispose](): void {
    if (this.#ownsPass) this.#pass[Symbol.dispose]();
  }

  /** Counts the batch's targets and their text; those beyond `totalTokens` are taken out of the batch. */
  #count(sums: { tokens: number; bytes: number; endTokens: number }, totalTokens: number): void {
    const ids = this.#ids;
    const targets = this.#targets;
    const tokenBytes = this.#tokenBytes;
    for (let i = 0; i < targets.length; i++) {
      const target = targets[i]!;
      if (target === IGNORED_TARGET) continue;
      if (sums.tokens === totalTokens) {
        targets[i] = IGNORED_TARGET;
        continue;
      }
      sums.tokens++;
      if (tokenBytes === null) continue;
      sums.bytes += tokenBytes.of(target, ids[i]!);
      if (target === tokenBytes.endId) sums.endTokens++;
    }
  }
}

function checkCounts(counts: Record<string, number>): void {
  for (const [name, value] of Object.entries(counts)) {
    if (Number.isSafeInteger(value) && value >= 1) continue;
    throw new RangeError(
      `Cannot evaluate as ${name} must be a whole number above 0: current value is ${value}`,
    );
  }
}
