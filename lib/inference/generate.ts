/**
 * Continuing a text with a trained model, token by token, over a KV cache.
 *
 * @module
 */

import { KvCache } from "../model/kv_cache.ts";
import type { Pass } from "../model/pass.ts";
import type { BitNetTransformer } from "../model/transformer.ts";
import { StreamDecoder } from "../tokenizer/stream_decoder.ts";
import type { ActivationDType } from "../tensor/dtype.ts";
import { endIds, type LoadedModel } from "./load_model.ts";
import { Sampler, type SamplingOptions } from "./sampler.ts";

/** Prompt tokens that run through the model at a time: enough rows to keep its matrix products busy. */
const CHUNK_TOKENS = 256;

/** How to continue a text. */
export interface GenerationOptions extends SamplingOptions {
  /** Tokens to generate at most. @default 256 */
  readonly maxTokens?: number;
}

/** Why a generation ended: the model ended the text, `maxTokens` was reached, or the context holds no more tokens. */
export type StopReason = "end_of_text" | "max_tokens" | "context_full";

/** What a generation did. */
export interface GenerationReport {
  readonly stop: StopReason;
  /** Tokens of the prompt. */
  readonly promptTokens: number;
  /** Tokens generated, an ending one not counted. */
  readonly tokens: number;
  /** Milliseconds until the prompt was read. */
  readonly prefillMs: number;
  /** Milliseconds of the model and the sampler after that. */
  readonly decodeMs: number;
  /** Passes of one token that `decodeMs` holds: the first token comes out of the prompt's pass. */
  readonly decodePasses: number;
}

/** Generates token ids, one prompt after the other, on memory planned once. */
export class TokenGenerator implements Disposable {
  readonly #model: BitNetTransformer;
  readonly #cache: KvCache;
  readonly #chunkTokens: number;
  readonly #decode: Pass; // of 1 token
  #chunk: Pass | null = null; // of chunkTokens tokens, planned for the first prompt that fills it
  readonly #token = new Int32Array(1);
  readonly #logits: Float32Array<ArrayBuffer>; // (V)

  /**
   * Takes memory for contexts of `capacity` tokens, prompt and continuation together.
   *
   * `chunkTokens`: prompt tokens that run at a time. @default 256
   * `cacheDtype`: of keys and values; on the CPU bfloat16 is half the bytes to read. @default the activations'
   */
  constructor(
    model: BitNetTransformer,
    options: { capacity: number; chunkTokens?: number; cacheDtype?: ActivationDType },
  ) {
    const { capacity, chunkTokens = CHUNK_TOKENS } = options;
    for (const [name, value] of [["capacity", capacity], ["chunkTokens", chunkTokens]] as const) {
      if (Number.isSafeInteger(value) && value >= 1) continue;
      throw new RangeError(
        `Cannot generate as ${name} must be a whole number above 0: current value is ${value}`,
      );
    }
    this.#model = model;
    this.#chunkTokens = chunkTokens;
    this.#logits = new Float32Array(model.config.vocabSize);
    const dtype = options.cacheDtype ?? model.dtype;
    this.#cache = new KvCache(model.config, { sequences: 1, capacity, dtype }).commit(model.device);
    try {
      this.#decode = this.#plan(1);
    } catch (error) {
      this.#cache[Symbol.dispose]();
      throw error;
    }
  }

  /** Tokens that a prompt and its continuation may have together. */
  get capacity(): number {
    return this.#cache.capacity;
  }

  /**
   * Yields the tokens that continue `prompt`, each as soon as it is chosen; one of `endIds` ends the text and is not yielded.
   * Only ids below `vocabSize` are chosen, for a model whose vocabulary was padded. Use one generation at a time.
   *
   * Throws `RangeError`, before anything runs, for an empty prompt, one that fills the context, an id outside the vocabulary, or
   * an option out of range.
   */
  *generate(
    prompt: ArrayLike<number>,
    options: GenerationOptions & { endIds?: ReadonlySet<number>; vocabSize?: number } = {},
  ): Generator<number, GenerationReport, void> {
    const { maxTokens = 256, endIds } = options;
    if (!Number.isSafeInteger(maxTokens) || maxTokens < 1) {
      throw new RangeError(
        `Cannot generate as max-tokens must be a whole number above 0: current value is ${maxTokens}`,
      );
    }
    const vocabSize = Math.min(options.vocabSize ?? Infinity, this.#logits.length);
    const sampler = new Sampler(vocabSize, options);
    const logits = this.#logits.subarray(0, vocabSize);
    const ids = this.#checkPrompt(prompt);
    const started = performance.now();
    this.#cache.reset();
    this.#prefill(ids);
    const prefillMs = performance.now() - started;

    let decodeMs = 0;
    let decodePasses = 0;
    let tokens = 0;
    const report = (stop: StopReason): GenerationReport => ({
      stop,
      promptTokens: ids.length,
      tokens,
      prefillMs,
      decodeMs,
      decodePasses,
    });
    for (;;) {
      const resumed = performance.now(); // what the caller did with a token is not counted
      if (tokens > 0) {
        this.#run(this.#decode, this.#token);
        this.#readLogits(this.#decode);
        decodePasses++;
      }
      const id = sampler.next(logits);
      decodeMs += performance.now() - resumed;
      if (endIds?.has(id)) return report("end_of_text");
      tokens++;
      yield id;
      if (tokens === maxTokens) return report("max_tokens");
      if (ids.length + tokens === this.capacity) return report("context_full");
      this.#token[0] = id;
    }
  }

  [Symbol.dispose](): void {
    this.#chunk?.[Symbol.dispose]();
    this.#decode[Symbol.dispose]();
    this.#cache[Symbol.dispose]();
  }

  #checkPrompt(prompt: ArrayLike<number>): Int32Array<ArrayBuffer> {
    const { vocabSize } = this.#model.config;
    if (prompt.length === 0) {
      throw new RangeError(
        "Cannot continue a prompt as it must hold at least one token: current value is none; give some text",
      );
    }
    if (prompt.length >= this.capacity) throw promptTooLong(prompt.length, this.capacity);
    const ids = new Int32Array(prompt.length);
    for (let i = 0; i < prompt.length; i++) {
      const id = prompt[i]!;
      if (!Number.isInteger(id) || id < 0 || id >= vocabSize) {
        throw new RangeError(
          `Cannot continue a prompt as its ids must be from 0 to ${
            vocabSize - 1
          }: current value of id ${i} is ${id}; ` +
            `the tokenizer must be the model's own`,
        );
      }
      ids[i] = id;
    }
    return ids;
  }

  /** Runs a prompt through the model, chunk by chunk; `#logits` then hold those of its last token. */
  #prefill(ids: Int32Array<ArrayBuffer>): void {
    const size = this.#chunkTokens;
    const rest = ids.length % size;
    for (let from = 0; from + size <= ids.length; from += size) {
      this.#chunk ??= this.#plan(size);
      this.#run(this.#chunk, ids.subarray(from, from + size));
    }
    if (rest === 0) return this.#readLogits(this.#chunk!);
    const last = ids.subarray(ids.length - rest);
    if (rest === 1) {
      this.#run(this.#decode, last);
      return this.#readLogits(this.#decode);
    }
    using pass = this.#plan(rest);
    this.#run(pass, last);
    this.#readLogits(pass);
  }

  #run(pass: Pass, ids: Int32Array<ArrayBuffer>): void {
    pass.ids.upload(ids);
    pass.forward();
  }

  #readLogits(pass: Pass): void {
    pass.logitsOf(pass.memory.rows - 1, this.#logits);
  }

  #plan(tokens: number): Pass {
    const pass = this.#model.plan({ sequences: 1, tokens, training: false, cache: this.#cache });
    try {
      return pass.commit(this.#model.device);
    } catch (error) {
      pass[Symbol.dispose]();
      throw error;
    }
  }
}

function promptTooLong(length: number, contextLength: number): RangeError {
  return new RangeError(
    `Cannot continue a prompt as it must leave room for a token in the context of ${contextLength} tokens: ` +
      `current length is ${length}; shorten it`,
  );
}

/**
 * Yields the text that continues `prompt`, in pieces of whole characters, each as soon as its last token is chosen.
 *
 * The prompt begins a document: the id that config.json names for that comes first, where it names one. Prompt and continuation
 * together have at most `contextLength` tokens. @default the model's
 *
 * Throws as {@linkcode TokenGenerator.generate} does, and `TypeError` for a model without a tokenizer.
 */
export function* generateText(
  loaded: LoadedModel,
  prompt: string,
  options: GenerationOptions & { contextLength?: number; cacheDtype?: ActivationDType } = {},
): Generator<string, GenerationReport, void> {
  const { model, tokenizer, specialTokens } = loaded;
  if (tokenizer === null) {
    throw new TypeError(
      `Cannot continue a text as ${loaded.path} must hold tokenizer.json: current value is no such file; ` +
        `copy the one the model was trained with there`,
    );
  }
  const { maxTokens = 256, contextLength = loaded.contextLength } = options;
  const encoded = tokenizer.encode(prompt);
  const start = specialTokens.bosTokenId;
  const ids = encoded.length === 0 || start === null ? encoded : [start, ...encoded];
  if (ids.length >= contextLength) throw promptTooLong(ids.length, contextLength);
  const capacity = Math.min(contextLength, ids.length + maxTokens);
  using generator = new TokenGenerator(model, {
    capacity,
    ...(options.cacheDtype !== undefined && { cacheDtype: options.cacheDtype }),
  });
  const decoder = new StreamDecoder(tokenizer);
  const generation = generator.generate(ids, {
    ...options,
    endIds: endIds(loaded),
    vocabSize: tokenizer.vocabSize,
  });
  for (;;) {
    const { done, value } = generation.next();
    if (done) {
      const rest = decoder.flush();
      if (rest !== "") yield rest;
      return value;
    }
    const text = decoder.push(value);
    if (text !== "") yield text;
  }
}
