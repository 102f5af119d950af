/**
 * Training batches out of a data set.
 *
 * @module
 */
import { DataError } from "./errors.ts";
import { type TokenBatch, WindowGatherer } from "./gather.ts";
import { type SamplerState, WindowSampler } from "./sampler.ts";
import type { TokenDataset, TokenWindow } from "./shards.ts";

/** How a data set is cut and ordered. */
export interface BatchLoaderOptions {
  /** Windows of a batch (B). */
  batchSize: number;
  /** Tokens of a window (T); T + 1 are read, so that every token has its target. */
  seqLen: number;
  /** Chooses the order. @default {0} */
  seed?: number;
  /** Whether windows are taken in a seeded order, without replacement, anew each epoch. @default {true} */
  shuffle?: boolean;
}

/**
 * Batches of B windows of T tokens. Windows start every T tokens of a shard and do not cross shards; each comes once
 * an epoch. Where a run stands is {@linkcode BatchLoader.state}, a few numbers.
 */
export class BatchLoader {
  /** Windows of an epoch. */
  readonly windowCount: number;
  readonly batchSize: number;
  readonly seqLen: number;
  readonly #dataset: TokenDataset;
  readonly #sampler: WindowSampler;
  readonly #gatherer: WindowGatherer;
  /** First window of each shard, and their sum at the end. */
  readonly #firstWindow: readonly number[];
  readonly #windows: TokenWindow[];

  constructor(dataset: TokenDataset, options: BatchLoaderOptions) {
    const { batchSize, seqLen, seed = 0, shuffle = true } = options;
    checkPositive("batch size", batchSize);
    checkPositive("sequence length", seqLen);
    const firstWindow = [0];
    for (const { info } of dataset.shards) {
      firstWindow.push(firstWindow.at(-1)! + Math.floor((info.tokenCount - 1) / seqLen));
    }
    this.windowCount = firstWindow.at(-1)!;
    if (this.windowCount < 1) {
      const longest = Math.max(...dataset.shards.map(({ info }) => info.tokenCount));
      throw new DataError(
        `Cannot make batches of sequences of ${seqLen} tokens as a window needs ${seqLen + 1}: ` +
          `the longest of ${dataset.shards.length} token files (${
            dataset.shards[0]!.path
          } …) has ${longest}. ` +
          "Shorten training.seq_len or give more data",
        { path: dataset.shards[0]!.path },
      );
    }
    this.#dataset = dataset;
    this.batchSize = batchSize;
    this.seqLen = seqLen;
    this.#firstWindow = firstWindow;
    this.#sampler = new WindowSampler(this.windowCount, { seed, shuffle });
    const { library, vocabSize } = dataset;
    this.#gatherer = new WindowGatherer(library, { capacity: batchSize, vocabSize });
    this.#windows = new Array(batchSize);
  }

  /** Where the loader stands. */
  get state(): SamplerState {
    return this.#sampler.state;
  }

  /** Goes to where a state was taken; throws {@linkcode DataError} where it is of other data or another seed. */
  seek(state: SamplerState): void {
    this.#sampler.seek(state);
  }

  /** Leaves out `windows` windows at no cost. */
  skip(windows: number): void {
    this.#sampler.skip(windows);
  }

  /**
   * Fills the next batch.
   *
   * @param batch `ids` and `targets` of B·T elements each.
   * @throws {DataError} On an id outside the vocabulary, naming file and token; the loader then stays where it was.
   */
  next(batch: TokenBatch): void {
    const before = this.state;
    const windows = this.nextWindows();
    try {
      this.#gatherer.gather(windows, { ...batch, tokens: this.seqLen });
    } catch (error) {
      this.#sampler.seek(before);
      throw error;
    }
  }

  /**
   * The places of the next batch, for native code that reads the mapping itself. The array is reused by the next
   * call; addresses are good while the data set is open.
   */
  nextWindows(): readonly TokenWindow[] {
    for (let b = 0; b < this.batchSize; b++) {
      this.#windows[b] = this.#windowAt(this.#sampler.next());
    }
    return this.#windows;
  }

  #windowAt(index: number): TokenWindow {
    let low = 0;
    let high = this.#firstWindow.length - 2;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#firstWindow[middle]! <= index) low = middle;
      else high = middle - 1;
    }
    const offset = (index - this.#firstWindow[low]!) * this.seqLen;
    return this.#dataset.window(this.#dataset.shards[low]!, offset);
  }
}

function checkPositive(what: string, value: number): void {
  if (Number.isSafeInteger(value) && value >= 1) return;
  throw new RangeError(
    `Cannot make batches as the ${what} is an integer of at least 1: current value is ${value}`,
  );
}
