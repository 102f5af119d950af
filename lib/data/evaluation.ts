/**
 * Windows for measuring a model: every token of a data set is predicted exactly once.
 *
 * @module
 */
import { type TokenBatch, WindowGatherer } from "./gather.ts";
import type { TokenDataset, TokenShard } from "./shards.ts";

/** Target that the loss leaves out. */
export const IGNORED_TARGET = -1;

/** A stretch of a shard to run the model on. */
export interface EvaluationWindow {
  readonly shard: TokenShard;
  /** Number of its first token within the shard. */
  readonly offset: number;
  /** Inputs, each with its target: at most the sequence length, fewer at a shard's end. */
  readonly count: number;
  /** Leading targets that an earlier window has predicted: they only give context here. */
  readonly ignore: number;
}

/** How a data set is cut for evaluation. */
export interface EvaluationOptions {
  /** Tokens of a window (T). */
  seqLen: number;
  /** Tokens from one window's start to the next: T for windows side by side, less for more context. @default {seqLen} */
  stride?: number;
}

/**
 * The windows of a data set, shard by shard. The targets that aren't ignored are all tokens but each shard's first,
 * once each; all but the first windows see at least T - stride tokens of context.
 */
export function* evaluationWindows(
  dataset: TokenDataset,
  options: EvaluationOptions,
): Generator<EvaluationWindow> {
  const { seqLen, stride = seqLen } = options;
  if (!(Number.isSafeInteger(stride) && stride >= 1 && stride <= seqLen)) {
    throw new RangeError(
      `Cannot cut evaluation windows as the stride is an integer from 1 to the sequence length ${seqLen}: ` +
        `current value is ${stride}`,
    );
  }
  for (const shard of dataset.shards) {
    const targets = shard.info.tokenCount - 1;
    for (let offset = 0, predicted = 0; predicted < targets; offset += stride) {
      const end = Math.min(offset + seqLen, targets);
      yield { shard, offset, count: end - offset, ignore: predicted - offset };
      predicted = end;
    }
  }
}

/** How many windows {@linkcode evaluationWindows} yields, and how many targets they predict. */
export function countEvaluationWindows(
  dataset: TokenDataset,
  options: EvaluationOptions,
): { windows: number; targets: number } {
  const { seqLen, stride = seqLen } = options;
  let windows = 0;
  let targets = 0;
  for (const { info } of dataset.shards) {
    const count = info.tokenCount - 1;
    if (count > 0) windows += 1 + Math.max(0, Math.ceil((count - seqLen) / stride));
    targets += count;
  }
  return { windows, targets };
}

/** Fills batches with evaluation windows, one a row; what isn't to be measured has the target -1. */
export class EvaluationReader {
  readonly #dataset: TokenDataset;
  readonly #windows: Generator<EvaluationWindow>;
  readonly #gatherer: WindowGatherer;
  readonly #options: EvaluationOptions & { batchSize: number };

  constructor(dataset: TokenDataset, options: EvaluationOptions & { batchSize: number }) {
    this.#dataset = dataset;
    this.#options = options;
    this.#windows = evaluationWindows(dataset, options);
    const { library, vocabSize } = dataset;
    this.#gatherer = new WindowGatherer(library, { capacity: 1, vocabSize });
  }

  /**
   * Fills the next batch of up to B windows of T tokens. Rows without a window, and tokens after a shard's end, hold
   * id 0 and target -1; leading targets of a window's context hold -1.
   *
   * @returns The windows of the rows and the number of targets to measure, or `null` after the last window.
   * @throws {DataError} On an id outside the vocabulary.
   */
  next(batch: TokenBatch): { windows: readonly EvaluationWindow[]; targets: number } | null {
    const { seqLen, batchSize } = this.#options;
    const windows: EvaluationWindow[] = [];
    let targets = 0;
    while (windows.length < batchSize) {
      const { done, value: window } = this.#windows.next();
      if (done) break;
      const start = windows.length * seqLen;
      const ids = batch.ids.subarray(start, start + seqLen);
      const next = batch.targets.subarray(start, start + seqLen);
      const place = this.#dataset.window(window.shard, window.offset);
      this.#gatherer.gather([place], { ids, targets: next, tokens: window.count });
      ids.fill(0, window.count);
      next.fill(IGNORED_TARGET, window.count).fill(IGNORED_TARGET, 0, window.ignore);
      windows.push(window);
      targets += window.count - window.ignore;
    }
    if (windows.length === 0) return null;
    const end = windows.length * seqLen;
    batch.ids.fill(0, end, batchSize * seqLen);
    batch.targets.fill(IGNORED_TARGET, end, batchSize * seqLen);
    return { windows, targets };
  }
}
