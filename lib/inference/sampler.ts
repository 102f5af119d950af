/**
 * Choosing the next token from logits: temperature, top-k, top-p (arXiv:1904.09751), a seed.
 *
 * @module
 */

import { Random } from "./random.ts";

/** How tokens are chosen. */
export interface SamplingOptions {
  /** Logits are divided by it: below 1 is bolder towards the likely; 0 always takes the likeliest. @default 0.8 */
  readonly temperature?: number;
  /** Only this many likeliest tokens may be chosen; 0 for all. @default 50 */
  readonly topK?: number;
  /** Only the likeliest tokens that together have this probability, after top-k, may be chosen; 1 for all. @default 1 */
  readonly topP?: number;
  /** Whole number from 0; the same seed gives the same choices. @default 0 */
  readonly seed?: number;
}

/** Tokens that may be chosen, in the first `count` places. */
export interface Candidates {
  /** Token ids, likeliest first where top-k is on. */
  readonly ids: Int32Array;
  /** Unnormalised probabilities, the likeliest token's being 1. */
  readonly weights: Float64Array;
  /** Sum of the weights. */
  total: number;
  count: number;
  /** Scratch of top-p: weights by likelihood. */
  readonly bins: Float64Array;
}

/** Room for the candidates of a vocabulary, to be used again for each token. */
export function createCandidates(vocabSize: number): Candidates {
  return {
    ids: new Int32Array(vocabSize),
    weights: new Float64Array(vocabSize),
    total: 0,
    count: 0,
    bins: new Float64Array(4096),
  };
}

/**
 * The likeliest token; of equals the one of the lowest id.
 *
 * Throws `RangeError` where a logit is NaN or +Infinity, or all are -Infinity: nothing can be chosen then.
 */
export function likeliest(logits: Float32Array): number {
  let best = 0;
  let value = -Infinity;
  for (let id = 0; id < logits.length; id++) {
    const logit = logits[id]!;
    if (logit > value) {
      value = logit;
      best = id;
    } else if (logit !== logit) {
      throw notANumber(id, logit);
    }
  }
  if (value === Infinity) throw notANumber(best, value);
  if (value === -Infinity) throw nothingToChoose(logits.length);
  return best;
}

/**
 * Fills `into` with the tokens that may be chosen and their weights. Among equal logits those of lower ids are likelier.
 *
 * `temperature` must be above 0. Top-p is taken of what top-k leaves, and keeps at least one token. Throws as {@linkcode likeliest}.
 */
export function selectCandidates(
  logits: Float32Array,
  options: { temperature: number; topK: number; topP: number },
  into: Candidates,
): void {
  const { temperature, topK, topP } = options;
  const top = logits[likeliest(logits)]!;
  const vocabSize = logits.length;
  const { ids } = into;
  const limited = topK > 0 && topK < vocabSize;
  if (limited) {
    into.count = selectTopK(logits, ids, topK);
  } else {
    for (let id = 0; id < vocabSize; id++) ids[id] = id;
    into.count = vocabSize;
  }
  weigh(logits, into, { top, temperature });
  if (topP >= 1) return;
  if (limited) return keepNucleus(into, topP);
  selectNucleus(logits, into, { topP, top, temperature });
  weigh(logits, into, { top, temperature });
}

/** Of candidates in order, keeps the first that together have the share `topP`, one at least. */
function keepNucleus(into: Candidates, topP: number): void {
  const { weights } = into;
  const wanted = topP * into.total;
  let kept = 0;
  let mass = 0;
  do {
    mass += weights[kept]!;
    kept++;
  } while (kept < into.count && mass < wanted);
  into.count = kept;
  into.total = mass;
}

/** The candidate at the fraction `uniform` (from 0, below 1) of all weights. */
export function pickCandidate(
  candidates: Omit<Candidates, "bins">,
  uniform: number,
): number {
  const { ids, weights, count, total } = candidates;
  let left = uniform * total;
  let last = 0;
  for (let i = 0; i < count; i++) {
    const weight = weights[i]!;
    if (weight === 0) continue;
    last = i;
    left -= weight;
    if (left < 0) break; // rounding can leave a rest after the last one, which is then taken
  }
  return ids[last]!;
}

/** Chooses one token after another; it keeps its memory, so that a choice allocates nothing. */
export class Sampler {
  readonly #temperature: number;
  readonly #topK: number;
  readonly #topP: number;
  readonly #random: Random;
  readonly #candidates: Candidates;

  /** Throws `RangeError` naming the option that is out of range. */
  constructor(vocabSize: number, options: SamplingOptions = {}) {
    const { temperature = 0.8, topK = 50, topP = 1, seed = 0 } = options;
    if (!(temperature >= 0 && Number.isFinite(temperature))) {
      throw outOfRange("temperature", "a number from 0", temperature);
    }
    if (!Number.isSafeInteger(topK) || topK < 0) {
      throw outOfRange("top-k", "a whole number from 0", topK);
    }
    if (!(topP > 0 && topP <= 1)) throw outOfRange("top-p", "above 0 and at most 1", topP);
    this.#temperature = temperature;
    this.#topK = topK;
    this.#topP = topP;
    this.#random = new Random(seed);
    this.#candidates = createCandidates(vocabSize);
  }

  /** How many of the largest logits a choice needs: {@linkcode Sampler.nextOfTop} takes them; 0 for all. */
  get topK(): number {
    return this.#temperature === 0 ? 1 : this.#topK;
  }

  /**
   * The token that {@linkcode Sampler.next} would choose, from the `topK` largest logits, largest first, and the ids they are of. NaN
   * counts as the largest. Throws as {@linkcode likeliest}.
   */
  nextOfTop(ids: Int32Array, logits: Float32Array): number {
    const top = logits[0]!;
    if (!(top < Infinity)) throw notANumber(ids[0]!, top);
    if (top === -Infinity) throw nothingToChoose(logits.length);
    if (this.#temperature === 0) return ids[0]!;
    const into = this.#candidates;
    into.count = ids.length;
    into.total = 0;
    for (let i = 0; i < ids.length; i++) {
      into.ids[i] = ids[i]!;
      into.weights[i] = Math.exp((logits[i]! - top) / this.#temperature);
      into.total += into.weights[i]!;
    }
    if (this.#topP < 1) keepNucleus(into, this.#topP);
    return pickCandidate(into, this.#random.next());
  }

  /** The next token for logits (V). Throws as {@linkcode likeliest}. */
  next(logits: Float32Array): number {
    if (this.#temperature === 0) return likeliest(logits);
    const options = { temperature: this.#temperature, topK: this.#topK, topP: this.#topP };
    selectCandidates(logits, options, this.#candidates);
    return pickCandidate(this.#candidates, this.#random.next());
  }
}

/** Gives the candidates in `ids` their weights. */
function weigh(
  logits: Float32Array,
  into: Candidates,
  options: { top: number; temperature: number },
): void {
  const { ids, weights, count } = into;
  let total = 0;
  for (let i = 0; i < count; i++) {
    const weight = Math.exp((logits[ids[i]!]! - options.top) / options.temperature);
    weights[i] = weight;
    total += weight;
  }
  into.total = total;
}

/** Fills the head of `ids` with the k likeliest tokens in order, by a heap of k whose root is the least likely of them. */
function selectTopK(logits: Float32Array, ids: Int32Array, k: number): number {
  for (let id = 0; id < k; id++) ids[id] = id;
  makeHeap(logits, { ids, length: k, first: isUnlikelier });
  let least = logits[ids[0]!]!;
  for (let id = k; id < logits.length; id++) {
    if (!(logits[id]! > least)) continue; // an equal one has the higher id
    ids[0] = id;
    sink(logits, { ids, length: k, first: isUnlikelier }, 0);
    least = logits[ids[0]!]!;
  }
  takeFromHeap(logits, { ids, length: k, first: isUnlikelier }, () => true);
  return k;
}

/**
 * Keeps the likeliest tokens whose weights, which stand at their ids, reach the share `topP` of all.
 *
 * All tokens of a weight below (1 - topP) / V of the total have less than 1 - topP together, so they are out. The others are
 * counted by their logits into bins; only those of the bin that the nucleus ends in have to be put in order.
 */
function selectNucleus(
  logits: Float32Array,
  candidates: Candidates,
  options: { topP: number; top: number; temperature: number },
): void {
  const { ids, weights, total, bins } = candidates;
  const { topP, top, temperature } = options;
  const vocabSize = logits.length;
  const wanted = topP * total;
  const least = ((1 - topP) * total) / vocabSize;
  const scale = bins.length / (1 - Math.log(least) * temperature); // the 1 keeps it finite
  const binOf = (id: number) => Math.min(bins.length - 1, Math.floor((top - logits[id]!) * scale));
  bins.fill(0);
  for (let id = 0; id < vocabSize; id++) {
    if (weights[id]! >= least) bins[binOf(id)]! += weights[id]!;
  }
  let mass = 0;
  let last = 0;
  while (last < bins.length - 1 && mass + bins[last]! < wanted) mass += bins[last++]!;
  let count = 0;
  for (let id = 0; id < vocabSize; id++) {
    if (weights[id]! >= least && binOf(id) < last) ids[count++] = id;
  }
  const edge = ids.subarray(count);
  let length = 0;
  for (let id = 0; id < vocabSize; id++) {
    if (weights[id]! >= least && binOf(id) === last) edge[length++] = id;
  }
  const heap = { ids: edge, length, first: isLikelier };
  makeHeap(logits, heap);
  const left = takeFromHeap(logits, heap, (id) => (mass += weights[id]!) < wanted);
  edge.copyWithin(0, left, length);
  candidates.count = count + length - left;
}

/** Token ids in the first `length` places, as a binary heap: none comes `first` before its parent. */
interface Heap {
  readonly ids: Int32Array;
  readonly length: number;
  readonly first: (logits: Float32Array, a: number, b: number) => boolean;
}

function isLikelier(logits: Float32Array, a: number, b: number): boolean {
  const difference = logits[a]! - logits[b]!;
  return difference > 0 || (!(difference < 0) && a < b); // -Infinity less itself is NaN: equal
}

function isUnlikelier(logits: Float32Array, a: number, b: number): boolean {
  return isLikelier(logits, b, a);
}

function makeHeap(logits: Float32Array, heap: Heap): void {
  for (let at = (heap.length >> 1) - 1; at >= 0; at--) sink(logits, heap, at);
}

/** Takes the root off until `goOn` of one is false, each to behind the heap that is left, whose length is returned. */
function takeFromHeap(logits: Float32Array, heap: Heap, goOn: (id: number) => boolean): number {
  const { ids, first } = heap;
  let length = heap.length;
  while (length > 0) {
    const id = ids[0]!;
    length--;
    ids[0] = ids[length]!;
    ids[length] = id;
    sink(logits, { ids, length, first }, 0);
    if (!goOn(id)) break;
  }
  return length;
}

function sink(logits: Float32Array, { ids, length, first }: Heap, from: number): void {
  let at = from;
  const id = ids[at]!;
  for (let child = 2 * at + 1; child < length; child = 2 * at + 1) {
    if (child + 1 < length && first(logits, ids[child + 1]!, ids[child]!)) child++;
    if (!first(logits, ids[child]!, id)) break;
    ids[at] = ids[child]!;
    at = child;
  }
  ids[at] = id;
}

function notANumber(id: number, logit: number): RangeError {
  return new RangeError(
    `Cannot choose a token as logits must be numbers below Infinity: the one of token ${id} is ${logit}; ` +
      `the weights are damaged or their training diverged, take an earlier checkpoint`,
  );
}

function nothingToChoose(count: number): RangeError {
  return new RangeError(
    `Cannot choose a token as one of ${count} logits must be above -Infinity: current values are all -Infinity`,
  );
}

function outOfRange(name: string, expected: string, value: number): RangeError {
  return new RangeError(
    `Cannot sample as ${name} must be ${expected}: current value is ${value}`,
  );
}
