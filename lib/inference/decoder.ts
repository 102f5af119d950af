/**
 * The passes that continue several sequences over one KV cache: prompts in chunks, then a token of each at a time.
 *
 * Where the device records graphs, a token is one: the ops of the pass, the head and the choice of the largest logits, recorded when
 * they have run once. What the host does for a token is then a launch, and a copy of a few logits.
 *
 * @module
 */

import { Graph } from "../ffi/graph.ts";
import { MOST_TOP_K, topK } from "../kernels/top_k.ts";
import { KvCache, type PassCache } from "../model/kv_cache.ts";
import type { Pass } from "../model/pass.ts";
import type { BitNetTransformer } from "../model/transformer.ts";
import { Arena } from "../tensor/arena.ts";
import type { CacheDType } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Sampler } from "./sampler.ts";

/** Prompt tokens that run through the model at a time: enough rows to keep its matrix products busy. */
const CHUNK_TOKENS = 256;

/** Sequences at a time: a pass has room for the logits of as many. */
export const MOST_SEQUENCES = 64;

/** Shape of a {@linkcode Decoder}. */
export interface DecoderOptions {
  /** Tokens that a prompt and its continuation may have together. */
  readonly capacity: number;
  /** Sequences that are continued at a time, up to {@linkcode MOST_SEQUENCES}. @default 1 */
  readonly sequences?: number;
  /** Prompt tokens that run at a time. @default 256 */
  readonly chunkTokens?: number;
  /**
   * Of keys and values; on the CPU bfloat16 is half the bytes to read, int8 a quarter there and half on a card. @default the
   * activations'
   */
  readonly cacheDtype?: CacheDType;
}

/** What is read of the logits: `k` largest of the first `vocabSize`, or all of them where `k` is 0. */
interface Choice {
  readonly k: number;
  readonly vocabSize: number;
  /** Values, then ids: one copy brings both. */
  readonly arena: Arena;
  readonly values: Tensor; // (B, k)
  readonly ids: Tensor; // (B, k)
  readonly host: Uint8Array<ArrayBuffer>;
  readonly hostValues: Float32Array<ArrayBuffer>;
  readonly hostIds: Int32Array<ArrayBuffer>;
  /** (B, V), where all are read. */
  readonly hostLogits: Float32Array<ArrayBuffer>;
}

/** Sequences and their cache, on memory planned once. */
export class Decoder implements Disposable {
  readonly sequences: number;
  readonly capacity: number;
  readonly #model: BitNetTransformer;
  readonly #chunkTokens: number;
  readonly #cache: KvCache;
  readonly #pass: Pass; // of a token of each sequence
  readonly #fed: Int32Array<ArrayBuffer>; // (B), what the pass's ids hold
  #chunk: { readonly sequence: number; readonly pass: Pass } | null = null;
  #choice: Choice | null = null;
  #logits: Tensor | null = null; // (B, V), of the last token
  #graph: Graph | null = null;
  #decoded = 0; // tokens since the choice was set

  /** Throws `RangeError` naming the option that is out of range. */
  constructor(model: BitNetTransformer, options: DecoderOptions) {
    const { capacity, sequences = 1, chunkTokens = CHUNK_TOKENS } = options;
    for (const [name, value] of Object.entries({ capacity, sequences, chunkTokens })) {
      if (Number.isSafeInteger(value) && value >= 1) continue;
      throw new RangeError(
        `Cannot generate as ${name} must be a whole number above 0: current value is ${value}`,
      );
    }
    if (sequences > MOST_SEQUENCES) {
      throw new RangeError(
        `Cannot generate as sequences must be at most ${MOST_SEQUENCES}: current value is ${sequences}`,
      );
    }
    this.sequences = sequences;
    this.capacity = capacity;
    this.#model = model;
    this.#chunkTokens = chunkTokens;
    this.#fed = new Int32Array(sequences);
    const dtype = options.cacheDtype ?? model.dtype;
    this.#cache = new KvCache(model.config, { sequences, capacity, dtype }).commit(model.device);
    try {
      this.#pass = this.#plan(this.#cache, 1);
    } catch (error) {
      this.#cache[Symbol.dispose]();
      throw error;
    }
  }

  /** Bytes of keys and values. */
  get cacheBytes(): number {
    return this.#cache.bytes;
  }

  /** Says what the next tokens are chosen by. */
  prepare(sampler: Sampler, vocabSize: number): void {
    const { topK } = sampler;
    this.#set(topK < vocabSize && topK <= MOST_TOP_K ? topK : 0, vocabSize);
  }

  /** Runs a prompt through the model in the place of what a sequence held; its next token can then be chosen. */
  prefill(sequence: number, ids: Int32Array<ArrayBuffer>): void {
    const size = this.#chunkTokens;
    const rest = ids.length % size;
    this.#cache.reset(sequence);
    for (let from = 0; from + size <= ids.length; from += size) {
      const pass = this.#chunkOf(sequence);
      pass.ids.upload(ids.subarray(from, from + size));
      pass.forward();
    }
    if (rest === 0) return this.#readLast(this.#chunk!.pass, sequence);
    using pass = this.#plan(this.#cache.sequence(sequence), rest);
    pass.ids.upload(ids.subarray(ids.length - rest));
    pass.forward();
    this.#readLast(pass, sequence);
  }

  /**
   * Runs `ids` (B), the tokens last chosen, through the model; the next ones of the sequences in `running` can then be chosen. The others
   * stay as they were: their row is computed and forgotten.
   */
  decode(ids: Int32Array<ArrayBuffer>, running: readonly number[]): void {
    const choice = this.#choice!;
    if (running.some((sequence) => ids[sequence] !== this.#fed[sequence])) {
      this.#fed.set(ids);
      this.#pass.ids.upload(ids);
    }
    this.#model.prepare();
    if (this.#decoded === 1 && Graph.isSupported(this.#model.device)) {
      this.#graph = Graph.record(this.#model.device, () => this.#step(choice));
    }
    if (this.#graph === null) this.#step(choice);
    else this.#graph.launch();
    this.#decoded++;
    this.#cache.advance(1, running);
    this.#read(choice, this.#logits!, { from: 0, to: this.sequences });
  }

  /** Runs the last token of each sequence again, where it was, without waiting for it: what of a token is the device's own time. */
  replay(): void {
    if (this.#graph === null) this.#step(this.#choice!);
    else this.#graph.launch();
  }

  /** The next token of a sequence, after {@linkcode Decoder.prefill} or {@linkcode Decoder.decode}. */
  choose(sequence: number, sampler: Sampler): number {
    const { k, vocabSize, hostLogits, hostIds, hostValues } = this.#choice!;
    if (k === 0) {
      const from = sequence * this.#model.config.vocabSize;
      return sampler.next(hostLogits.subarray(from, from + vocabSize));
    }
    const [from, to] = [sequence * k, (sequence + 1) * k];
    return sampler.nextOfTop(hostIds.subarray(from, to), hostValues.subarray(from, to));
  }

  [Symbol.dispose](): void {
    this.#forgetChoice();
    this.#chunk?.pass[Symbol.dispose]();
    this.#pass[Symbol.dispose]();
    this.#cache[Symbol.dispose]();
  }

  #set(k: number, vocabSize: number): void {
    if (this.#choice?.k === k && this.#choice.vocabSize === vocabSize) return;
    this.#forgetChoice();
    const { sequences } = this;
    const arena = new Arena("largest logits");
    const values = arena.tensor("logits.top", "float32", [sequences, k]);
    const idsAt = arena.bytes;
    const ids = arena.tensor("logits.top.ids", "int32", [sequences, k]);
    arena.commit(this.#model.device);
    const host = new Uint8Array(arena.bytes);
    this.#choice = {
      k,
      vocabSize,
      arena,
      values,
      ids,
      host,
      hostValues: new Float32Array(host.buffer, 0, sequences * k),
      hostIds: new Int32Array(host.buffer, idsAt, sequences * k),
      hostLogits: new Float32Array(k === 0 ? sequences * this.#model.config.vocabSize : 0),
    };
  }

  #forgetChoice(): void {
    this.#graph?.[Symbol.dispose]();
    this.#graph = null;
    this.#decoded = 0;
    this.#choice?.arena[Symbol.dispose]();
    this.#choice = null;
  }

  /** The ops of a token of each sequence. */
  #step(choice: Choice): void {
    this.#pass.compute();
    this.#logits = this.#pass.computeLogits(0, this.sequences);
    this.#chooseTop(choice, this.#logits, { from: 0, to: this.sequences });
  }

  /** Picks the largest of the sequences' logits. The likeliest alone is the next token: it goes to where the pass reads it. */
  #chooseTop(choice: Choice, logits: Tensor, { from, to }: { from: number; to: number }): void {
    const { k, vocabSize, values, ids } = choice;
    if (k === 0) return;
    topK({ logits, vocabSize, values: values.rows(from, to), ids: ids.rows(from, to) });
    if (k === 1) this.#pass.ids.rows(from, to).copyFrom(ids.rows(from, to));
  }

  /** What is chosen from after a prompt, whose last token is the pass's last row. */
  #readLast(pass: Pass, sequence: number): void {
    const choice = this.#choice!;
    const { rows } = pass.memory;
    const logits = pass.computeLogits(rows - 1, rows);
    const range = { from: sequence, to: sequence + 1 };
    this.#chooseTop(choice, logits, range);
    this.#read(choice, logits, range);
  }

  /** Copies what the sequences `from` to `to` (exclusive) are chosen from to the host, waiting for it. */
  #read(choice: Choice, logits: Tensor, { from, to }: { from: number; to: number }): void {
    const { k, arena, host, hostIds, hostLogits } = choice;
    if (k === 0) {
      const { vocabSize } = this.#model.config;
      logits.download(hostLogits.subarray(from * vocabSize, to * vocabSize));
      return;
    }
    this.#model.device.download(host, arena.address);
    if (k === 1) this.#fed.set(hostIds.subarray(from, to), from);
  }

  #chunkOf(sequence: number): Pass {
    if (this.#chunk?.sequence === sequence) return this.#chunk.pass;
    this.#chunk?.pass[Symbol.dispose]();
    this.#chunk = null;
    const pass = this.#plan(this.#cache.sequence(sequence), this.#chunkTokens);
    this.#chunk = { sequence, pass };
    return pass;
  }

  #plan(cache: PassCache, tokens: number): Pass {
    const { sequences } = cache;
    const pass = this.#model.plan({ sequences, tokens, training: false, cache });
    try {
      return pass.commit(this.#model.device);
    } catch (error) {
      pass[Symbol.dispose]();
      throw error;
    }
  }
}
