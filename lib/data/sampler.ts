/**
 * Which window comes next.
 *
 * @module
 */
import { DataError } from "./errors.ts";
import { Permutation } from "./permutation.ts";
import { describeValue } from "../std/describe.ts";

/** Where a sampler stands: all that a resumed run needs, as JSON. */
export interface SamplerState {
  /** Chooses the order. */
  seed: number;
  /** Passes over the data that are complete. */
  epoch: number;
  /** Windows of this pass that were taken. */
  position: number;
  /** Windows of a pass; another number is another data set. */
  windowCount: number;
}

/** Takes every index once an epoch, in an order that the seed and the epoch choose. */
export class WindowSampler {
  readonly #seed: number;
  readonly #windowCount: number;
  readonly #shuffle: boolean;
  #epoch = 0;
  #position = 0;
  #order: Permutation;

  /** `shuffle: false` takes the indices in ascending order. */
  constructor(windowCount: number, options: { seed: number; shuffle?: boolean }) {
    const { seed, shuffle = true } = options;
    if (!Number.isSafeInteger(seed) || seed < 0) {
      throw new RangeError(
        `Cannot sample with this seed as it is an integer from 0 to 2^53 - 1: current value is ${seed}`,
      );
    }
    this.#seed = seed;
    this.#windowCount = windowCount;
    this.#shuffle = shuffle;
    this.#order = new Permutation(windowCount, [seed, 0]);
  }

  /** Where the sampler stands; a fresh object. */
  get state(): SamplerState {
    return {
      seed: this.#seed,
      epoch: this.#epoch,
      position: this.#position,
      windowCount: this.#windowCount,
    };
  }

  /** The next window's index. */
  next(): number {
    const place = this.#position;
    const index = this.#shuffle ? this.#order.at(place) : place;
    this.#moveTo(this.#epoch, place + 1);
    return index;
  }

  /** Leaves out `count` windows, at no cost whatever the count. */
  skip(count: number): void {
    if (!Number.isSafeInteger(count) || count < 0) {
      throw new RangeError(`Cannot skip ${count} windows as it is an integer of at least 0`);
    }
    this.#moveTo(this.#epoch, this.#position + count);
  }

  /**
   * Goes to where a state was taken.
   *
   * @throws {DataError} Where the state is malformed, or of another seed or another number of windows.
   */
  seek(state: SamplerState): void {
    const { seed, epoch, position, windowCount } = state;
    if (
      !Number.isSafeInteger(epoch) || epoch < 0 || !Number.isSafeInteger(position) ||
      position < 0 || position >= windowCount
    ) {
      throw new DataError(
        `Cannot resume the order of the data as its state is malformed: current value is ${
          describeValue(state)
        }`,
      );
    }
    if (seed !== this.#seed || windowCount !== this.#windowCount) {
      throw new DataError(
        `Cannot resume the order of the data as it was ${windowCount} windows with seed ${seed}: ` +
          `now it is ${this.#windowCount} windows with seed ${this.#seed}. ` +
          "Restore the data files, data.seed and training.seq_len of that run",
      );
    }
    this.#moveTo(epoch, position);
  }

  #moveTo(epoch: number, position: number): void {
    const whole = Math.floor(position / this.#windowCount);
    const previous = this.#epoch;
    this.#epoch = epoch + whole;
    this.#position = position - whole * this.#windowCount;
    if (this.#epoch !== previous) {
      this.#order = new Permutation(this.#windowCount, [this.#seed, this.#epoch]);
    }
  }
}
