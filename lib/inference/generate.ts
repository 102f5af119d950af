/**
 * Continuing a text with a trained model, token by token, over a KV cache.
 *
 * @module
 */

import type { CacheDType } from "../tensor/dtype.ts";
import type { BitNetTransformer } from "../model/transformer.ts";
import { StreamDecoder } from "../tokenizer/stream_decoder.ts";
import { withStart } from "../tokenizer/start_of_text.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import {
  BatchGenerator,
  type GenerationOptions,
  type GenerationReport,
  promptEmpty,
  promptName,
  promptTooLong,
  type VocabularyOptions,
} from "./batch_generator.ts";
import type { DecoderOptions } from "./decoder.ts";
import { endIds, type LoadedModel } from "./load_model.ts";
import { StopTexts } from "./stop_texts.ts";

export type { GenerationOptions, GenerationReport, StopReason } from "./batch_generator.ts";

/** Generates token ids, one prompt after the other, on memory planned once. */
export class TokenGenerator implements Disposable {
  readonly #batch: BatchGenerator;

  /** Takes memory for contexts of `capacity` tokens, prompt and continuation together. */
  constructor(model: BitNetTransformer, options: Omit<DecoderOptions, "sequences">) {
    this.#batch = new BatchGenerator(model, options);
  }

  /** Tokens that a prompt and its continuation may have together. */
  get capacity(): number {
    return this.#batch.capacity;
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
    options: GenerationOptions & VocabularyOptions = {},
  ): Generator<number, GenerationReport, void> {
    const generation = this.#batch.generate([prompt], options);
    for (;;) {
      const { done, value } = generation.next();
      if (done) return value[0]!;
      yield value.id;
    }
  }

  [Symbol.dispose](): void {
    this.#batch[Symbol.dispose]();
  }
}

/** Options of {@linkcode generateText} and {@linkcode generateTexts}. */
export interface TextOptions extends GenerationOptions {
  /** Tokens that prompt and continuation have together at most. @default the model's */
  readonly contextLength?: number;
  /** What keys and values are kept in. @default the activations' */
  readonly cacheDtype?: CacheDType;
  /** Texts that end a text where they come up in it, and are not part of it. @default none */
  readonly stopTexts?: readonly string[];
}

/** A piece of the text that continues a prompt. */
export interface TextPiece {
  /** Index of the prompt. */
  readonly prompt: number;
  /** Empty only where the text is done and nothing was left to yield. */
  readonly text: string;
  /** How the text ended, in its last piece; null in the others. */
  readonly report: GenerationReport | null;
}

/** Prompts that {@linkcode generateTexts} continues at a time, if it is not told. */
const DEFAULT_SEQUENCES = 16;

/**
 * Yields the text that continues `prompt`, in pieces of whole characters, each as soon as its last token is chosen.
 *
 * The prompt begins a document, as those did that the model was trained on: what its config.json names for that comes first, or
 * else what the tokenizer puts before a text, unless the prompt spells that itself.
 *
 * Throws as {@linkcode TokenGenerator.generate} does, and `TypeError` for a model without a tokenizer.
 */
export function* generateText(
  loaded: LoadedModel,
  prompt: string,
  options: TextOptions = {},
): Generator<string, GenerationReport, void> {
  const generation = generateTexts(loaded, [prompt], options);
  for (;;) {
    const { done, value } = generation.next();
    if (done) return value[0]!;
    if (value.text !== "") yield value.text;
  }
}

/**
 * Yields the texts that continue `prompts`, `sequences` of them at a time, in pieces as {@linkcode generateText} does: a prompt's pieces
 * are in order, those of different prompts come as they are chosen. The last one has the text's report.
 *
 * Of equal prompts the first takes the seed, the next one the seed and 1, and so on: they are samples of what the model makes of it, and
 * each is what its seed gives a prompt alone ({@linkcode sampleSeeds}).
 *
 * `sequences`: @default as many as there are prompts, up to 16; `names`: what messages call each prompt, @default its place from 1
 */
export function* generateTexts(
  loaded: LoadedModel,
  prompts: readonly string[],
  options: TextOptions & { sequences?: number; names?: readonly string[] } = {},
): Generator<TextPiece, GenerationReport[], void> {
  const tokenizer = tokenizerOf(loaded);
  const { maxTokens = 256, contextLength = loaded.contextLength, stopTexts = [], names } = options;
  const sequences = options.sequences ?? Math.max(1, Math.min(DEFAULT_SEQUENCES, prompts.length));
  const { startIds = tokenizer.startIds } = loaded.specialTokens;
  const ids = prompts.map((prompt) => {
    const encoded = tokenizer.encode(prompt);
    return encoded.length === 0 ? encoded : withStart(encoded, startIds);
  });
  for (const [prompt, { length }] of ids.entries()) {
    const which = promptName(prompt, { count: prompts.length, names });
    if (length === 0) throw promptEmpty(which);
    if (length >= contextLength) throw promptTooLong(length, contextLength, which);
  }
  const longest = ids.reduce((most, { length }) => Math.max(most, length), 0);
  using generator = new BatchGenerator(loaded.model, {
    sequences,
    capacity: Math.min(contextLength, longest + maxTokens),
    ...(options.cacheDtype !== undefined && { cacheDtype: options.cacheDtype }),
  });
  const texts = prompts.map(() => ({
    decoder: new StreamDecoder(tokenizer),
    stops: new StopTexts(stopTexts),
  }));
  let piece = ""; // of the token that is yielded next
  const ended: { prompt: number; report: GenerationReport }[] = [];
  const generation = generator.generate(ids, {
    ...options,
    seeds: sampleSeeds(prompts, options.seed),
    isLast(prompt, id) {
      const { decoder, stops } = texts[prompt]!;
      const { text, stopped } = stops.push(decoder.push(id));
      piece = text;
      return stopped;
    },
    onEnd: (prompt, report) => void ended.push({ prompt, report }),
    endIds: endIds(loaded),
    vocabSize: tokenizer.vocabSize,
  });
  for (;;) {
    const { done, value } = generation.next();
    if (!done && piece !== "") yield { prompt: value.prompt, text: piece, report: null };
    for (const { prompt, report } of ended.splice(0)) {
      const { decoder, stops } = texts[prompt]!;
      const text = report.stop === "stop_text"
        ? ""
        : stops.push(decoder.flush()).text + stops.flush();
      yield { prompt, text, report };
    }
    if (done) return value;
  }
}

/** Seeds of prompts: each takes the first one from `seed` on that no equal prompt before it has. */
export function sampleSeeds(prompts: readonly string[], seed = 0): number[] {
  const taken = new Map<string, number>();
  return prompts.map((prompt) => {
    const before = taken.get(prompt) ?? 0;
    taken.set(prompt, before + 1);
    return seed + before;
  });
}

function tokenizerOf({ tokenizer, path }: LoadedModel): Tokenizer {
  if (tokenizer !== null) return tokenizer;
  throw new TypeError(
    `Cannot continue a text as ${path} must hold tokenizer.json: current value is no such file; ` +
      `copy the one the model was trained with there`,
  );
}
