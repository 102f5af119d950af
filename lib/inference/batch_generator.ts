/**
 * Continuing several prompts at once: a pass reads the weights once for a token of each.
 *
 * @module
 */

import type { BitNetTransformer } from "../model/transformer.ts";
import { Decoder, type DecoderOptions } from "./decoder.ts";
import { Random } from "./random.ts";
import { Sampler, type SamplingOptions } from "./sampler.ts";

/** How to continue a text. */
export interface GenerationOptions extends SamplingOptions {
  /** Tokens to generate at most. @default 256 */
  readonly maxTokens?: number;
}

/** What of the vocabulary is chosen from, and what ends a text. */
export interface VocabularyOptions {
  /** Ids that end a text and are not yielded. @default none */
  readonly endIds?: ReadonlySet<number>;
  /** Only ids below it are chosen, for a model whose vocabulary was padded. @default the model's */
  readonly vocabSize?: number;
}

/** What differs from prompt to prompt. */
export interface PromptOptions {
  /** Seed of each prompt's choices. @default `seed` for all of them */
  readonly seeds?: readonly number[];
  /** What messages call each prompt. @default its place, counted from 1 */
  readonly names?: readonly string[];
  /** Told of each token that doesn't end its text by itself; true ends it, after the token. @default none ends one */
  readonly isLast?: (prompt: number, id: number) => boolean;
  /** Told of each text that is done, before its last token is yielded. @default nobody is */
  readonly onEnd?: (prompt: number, report: GenerationReport) => void;
}

/**
 * Why a generation ended: the model ended the text, `isLast` did, as it does at a stop text, `maxTokens` was reached, or the context holds
 * no more tokens.
 */
export type StopReason = "end_of_text" | "stop_text" | "max_tokens" | "context_full";

/** What a generation did. */
export interface GenerationReport {
  readonly stop: StopReason;
  /** Tokens of the prompt. */
  readonly promptTokens: number;
  /** Tokens generated, an ending one not counted. */
  readonly tokens: number;
  /** Milliseconds until the prompt was read. */
  readonly prefillMs: number;
  /** Milliseconds of the model and the sampler after that, those of other prompts that ran beside it included. */
  readonly decodeMs: number;
  /** Passes of one token that `decodeMs` holds: the first token comes out of the prompt's pass. */
  readonly decodePasses: number;
}

/** A token and the index of the prompt that it continues. */
export interface BatchToken {
  readonly prompt: number;
  readonly id: number;
}

/** A prompt that is being continued. */
interface Running {
  readonly prompt: number;
  readonly sampler: Sampler;
  readonly report: { -readonly [Name in Exclude<keyof GenerationReport, "stop">]: number };
}

/**
 * Generates token ids for any number of prompts, `sequences` of them at a time, on memory planned once. A prompt takes the place of one
 * that has ended.
 *
 * A prompt's tokens are those of the prompt alone. Every op computes a row from that row's values; where the rows that a product has
 * choose its algorithm (a head in float32 or bfloat16), its sums may be rounded in another order: docs/numerics.md.
 */
export class BatchGenerator implements Disposable {
  readonly #decoder: Decoder;
  readonly #vocabSize: number;
  readonly #ids: Int32Array<ArrayBuffer>; // (sequences), the token each one runs next

  /** Takes memory for contexts of `capacity` tokens. Throws `RangeError` naming the option that is out of range. */
  constructor(model: BitNetTransformer, options: DecoderOptions) {
    this.#decoder = new Decoder(model, options);
    this.#vocabSize = model.config.vocabSize;
    this.#ids = new Int32Array(this.#decoder.sequences);
  }

  /** Tokens that a prompt and its continuation may have together. */
  get capacity(): number {
    return this.#decoder.capacity;
  }

  /**
   * Yields the tokens that continue `prompts`, each as soon as it is chosen; the order of one prompt's tokens is that of its text. Every
   * prompt is sampled as if it were alone, from its seed. Use one generation at a time.
   *
   * Throws `RangeError`, before anything runs, for an empty prompt, one that fills the context, an id outside the vocabulary, or
   * an option out of range.
   */
  *generate(
    prompts: readonly ArrayLike<number>[],
    options: GenerationOptions & VocabularyOptions & PromptOptions = {},
  ): Generator<BatchToken, GenerationReport[], void> {
    const { maxTokens = 256, endIds, seeds, isLast, onEnd } = options;
    if (!Number.isSafeInteger(maxTokens) || maxTokens < 1) {
      throw new RangeError(
        `Cannot generate as max-tokens must be a whole number above 0: current value is ${maxTokens}`,
      );
    }
    const vocabSize = Math.min(options.vocabSize ?? Infinity, this.#vocabSize);
    // One is made as its prompt begins: it has room for the vocabulary, and there may be thousands of prompts.
    const samplerOf = (prompt: number) => {
      const seed = seeds?.[prompt];
      return new Sampler(vocabSize, { ...options, ...(seed !== undefined && { seed }) });
    };
    for (const seed of seeds ?? []) new Random(seed); // refuses a wrong one now
    const ids = prompts.map((ids, prompt) =>
      this.#checked(ids, promptName(prompt, { count: prompts.length, names: options.names }))
    );
    const decoder = this.#decoder;
    const slots = new Array<Running | null>(decoder.sequences).fill(null);
    const reports = new Array<GenerationReport>(prompts.length);
    if (prompts.length > 0) decoder.prepare(samplerOf(0), vocabSize);

    /** The next token of a slot, null where it ends the text; the slot is free where the text is done. */
    const next = (slot: number): BatchToken | null => {
      const running = slots[slot]!;
      const { prompt, sampler, report } = running;
      const started = performance.now();
      const id = decoder.choose(slot, sampler);
      report.decodeMs += performance.now() - started;
      const ends = endIds?.has(id) ?? false;
      if (!ends) report.tokens++;
      const stop = ends
        ? "end_of_text"
        : isLast?.(prompt, id)
        ? "stop_text"
        : report.tokens === maxTokens
        ? "max_tokens"
        : report.promptTokens + report.tokens === this.capacity
        ? "context_full"
        : null;
      this.#ids[slot] = id;
      if (stop !== null) {
        const ended: GenerationReport = { ...report, stop };
        reports[prompt] = ended;
        onEnd?.(prompt, ended);
        slots[slot] = null;
      }
      return ends ? null : { prompt, id };
    };

    let begun = 0;
    for (;;) {
      for (let slot = 0; slot < slots.length; slot++) {
        while (slots[slot] === null && begun < prompts.length) {
          const prompt = begun++;
          const report = this.#begin(slot, ids[prompt]!);
          slots[slot] = { prompt, sampler: samplerOf(prompt), report };
          const token = next(slot);
          if (token !== null) yield token;
        }
      }
      const running = [...slots.keys()].filter((slot) => slots[slot] !== null);
      if (running.length === 0) return reports;
      const started = performance.now();
      decoder.decode(this.#ids, running);
      const passMs = performance.now() - started;
      for (const slot of running) {
        const { report } = slots[slot]!;
        report.decodeMs += passMs;
        report.decodePasses++;
      }
      for (const slot of running) {
        const token = next(slot);
        if (token !== null) yield token;
      }
    }
  }

  [Symbol.dispose](): void {
    this.#decoder[Symbol.dispose]();
  }

  /** Reads a prompt into a slot. */
  #begin(slot: number, ids: Int32Array<ArrayBuffer>): Running["report"] {
    const started = performance.now();
    this.#decoder.prefill(slot, ids);
    const prefillMs = performance.now() - started;
    return { promptTokens: ids.length, tokens: 0, prefillMs, decodeMs: 0, decodePasses: 0 };
  }

  /** The ids of the prompt that messages call `which`. Throws `RangeError` for one that can't be continued. */
  #checked(prompt: ArrayLike<number>, which: string): Int32Array<ArrayBuffer> {
    if (prompt.length === 0) throw promptEmpty(which);
    if (prompt.length >= this.capacity) throw promptTooLong(prompt.length, this.capacity, which);
    const ids = new Int32Array(prompt.length);
    for (let i = 0; i < prompt.length; i++) {
      const id = prompt[i]!;
      if (!Number.isInteger(id) || id < 0 || id >= this.#vocabSize) {
        throw new RangeError(
          `Cannot continue ${which} as its ids must be from 0 to ${
            this.#vocabSize - 1
          }: current value of id ${i} is ${id}; the tokenizer must be the model's own`,
        );
      }
      ids[i] = id;
    }
    return ids;
  }
}

/** What messages call a prompt: as the caller does, else by its place among several. */
export function promptName(
  prompt: number,
  { count, names }: { count: number; names: readonly string[] | undefined },
): string {
  return names?.[prompt] ?? (count === 1 ? "a prompt" : `prompt ${prompt + 1} of ${count}`);
}

/** Says that a prompt has nothing to continue. */
export function promptEmpty(which: string): RangeError {
  return new RangeError(
    `Cannot continue ${which} as it must hold at least one token: current value is none; give some text`,
  );
}

/** Says that a prompt leaves no room in the context. */
export function promptTooLong(length: number, contextLength: number, which: string): RangeError {
  return new RangeError(
    `Cannot continue ${which} as it must leave room for a token in the context of ${contextLength} tokens: ` +
      `current length is ${length}; shorten it`,
  );
}
