/**
 * Texts that a model in training writes, so that one sees what a loss is worth.
 *
 * @module
 */

import type { SamplesConfig } from "../config/run_config.ts";
import { TokenGenerator } from "../inference/generate.ts";
import type { SampleRecord } from "../metrics/records.ts";
import { KvCache } from "../model/kv_cache.ts";
import type { BitNetTransformer } from "../model/transformer.ts";
import { StreamDecoder } from "../tokenizer/stream_decoder.ts";
import { MOST_START_IDS, withStart } from "../tokenizer/start_of_text.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";

/** Prompt tokens that run at a time. */
const CHUNK_TOKENS = 128;

/** Where a run stands when a text is written. */
interface Place {
  readonly step: number;
  readonly tokens: number;
}

/**
 * Continues the prompts of a run with its own weights, between two steps, on memory of its own: training reads nothing that it writes,
 * and its random numbers are not training's. It owns its memory: hold it with `using`.
 */
export class SampleWriter implements Disposable {
  readonly #generator: TokenGenerator;
  readonly #tokenizer: Tokenizer;
  readonly #config: SamplesConfig;
  readonly #prompts: readonly { readonly text: string; readonly ids: Uint32Array | number[] }[];

  /**
   * Takes the memory that {@linkcode sampleBytes} tells.
   *
   * Throws `RangeError` for a prompt that does not fit a sequence of `seqLen` tokens with its continuation.
   */
  constructor(
    model: BitNetTransformer,
    options: {
      samples: SamplesConfig;
      tokenizer: Tokenizer;
      /** Before each prompt's own, as before each document's. */
      startIds: readonly number[];
      seqLen: number;
    },
  ) {
    const { samples, tokenizer, startIds, seqLen } = options;
    this.#config = samples;
    this.#tokenizer = tokenizer;
    this.#prompts = samples.prompts.map((text) => {
      const ids = withStart(tokenizer.encode(text), startIds);
      if (ids.length + samples.maxTokens > seqLen) {
        throw new RangeError(
          `Cannot write samples as a prompt and its continuation must fit training.seq_len (${seqLen} tokens): ` +
            `the prompt ${
              JSON.stringify(text)
            } has ${ids.length} and logging.samples.max_tokens is ${samples.maxTokens}; ` +
            "shorten one of them",
        );
      }
      return { text, ids };
    });
    this.#generator = new TokenGenerator(model, {
      capacity: sampleCapacity(samples, seqLen),
      chunkTokens: CHUNK_TOKENS,
    });
  }

  /** Writes a text for each prompt, with the weights as they are. Waits for the device. */
  *write(place: Place): Generator<SampleRecord> {
    for (const prompt of this.#prompts) yield this.#continue(prompt, place);
  }

  [Symbol.dispose](): void {
    this.#generator[Symbol.dispose]();
  }

  #continue(
    prompt: { text: string; ids: Uint32Array | number[] },
    { step, tokens }: Place,
  ): SampleRecord {
    const { maxTokens, temperature, seed } = this.#config;
    const { eosId, vocabSize } = this.#tokenizer;
    const started = performance.now();
    const decoder = new StreamDecoder(this.#tokenizer);
    let text = "";
    let count = 0;
    let stop: SampleRecord["stop"] = null;
    let problem: string | null = null;
    try {
      const generation = this.#generator.generate(prompt.ids, {
        ...{ maxTokens, temperature, seed, vocabSize },
        endIds: new Set(eosId === null ? [] : [eosId]),
      });
      for (let next = generation.next();; next = generation.next()) {
        if (next.done) {
          if (next.value.stop !== "stop_text") stop = next.value.stop; // it has no stop texts
          break;
        }
        text += decoder.push(next.value);
        count++;
      }
    } catch (error) {
      // Logits that aren't numbers: the run's own judges decide what becomes of it.
      if (!(error instanceof RangeError)) throw error;
      problem = error.message;
    }
    text += decoder.flush();
    return {
      type: "sample",
      ...{ step, tokens, prompt: prompt.text, text },
      prompt_tokens: prompt.ids.length,
      sample_tokens: count,
      stop,
      sample_ms: Number((performance.now() - started).toPrecision(6)),
      error: problem,
    };
  }
}

/** Tokens of the longest prompt and its continuation at most: a token has a byte or more, and a space and others may begin a text. */
function sampleCapacity(samples: SamplesConfig, seqLen: number): number {
  const bytes = samples.prompts.map((prompt) => new TextEncoder().encode(prompt).length);
  return Math.min(seqLen, Math.max(...bytes) + 1 + MOST_START_IDS + samples.maxTokens);
}

/** Bytes of device memory that samples take at most, from a model that was only planned. */
export function sampleBytes(
  model: BitNetTransformer,
  options: { samples: SamplesConfig; seqLen: number },
): number {
  const capacity = sampleCapacity(options.samples, options.seqLen);
  const cache = new KvCache(model.config, { sequences: 1, capacity, dtype: model.dtype });
  const bytesOf = (tokens: number) => {
    const pass = model.plan({ sequences: 1, tokens, training: false, cache });
    return Object.values(pass.memory.bytes).reduce((sum, bytes) => sum + bytes, 0);
  };
  // The passes of a token and of a whole chunk stay; that of a prompt's rest comes and goes.
  const prompt = bytesOf(Math.min(CHUNK_TOKENS, capacity));
  return cache.bytes + bytesOf(1) + (capacity > CHUNK_TOKENS ? 2 : 1) * prompt;
}
