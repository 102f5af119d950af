/**
 * Loss on held-out tokens while a model trains, on the memory of the training pass.
 *
 * @module
 */

import { EvaluationReader } from "../data/evaluation.ts";
import type { TokenDataset } from "../data/shards.ts";
import { bitsPerByte } from "../evaluation/bits_per_byte.ts";
import type { Pass } from "../model/pass.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";

/** What an evaluation found. */
export interface ValidationResult {
  /** Mean cross-entropy in nats a token. */
  readonly loss: number;
  /** Bits a byte of text; null without a tokenizer to tell the bytes. */
  readonly bitsPerByte: number | null;
  /** Tokens that were predicted. */
  readonly tokens: number;
}

/** Evaluates a model in the batches of its training pass. */
export class Validation {
  readonly #pass: Pass;
  readonly #dataset: TokenDataset;
  /** (V): bytes of text each token stands for, 0 for the end of a document. */
  readonly #tokenBytes: Uint32Array | null;
  readonly #batch: { ids: Int32Array<ArrayBuffer>; targets: Int32Array<ArrayBuffer> };

  constructor(pass: Pass, dataset: TokenDataset, tokenizer: Tokenizer | null) {
    this.#pass = pass;
    this.#dataset = dataset;
    this.#tokenBytes = tokenizer === null ? null : tokenLengths(tokenizer);
    const { rows } = pass.memory;
    this.#batch = { ids: new Int32Array(rows), targets: new Int32Array(rows) };
  }

  /** Scores the first `batches` batches of the data, or all where it has fewer. */
  run(batches: number): ValidationResult {
    const { sequences, tokens: seqLen } = this.#pass.memory;
    const reader = new EvaluationReader(this.#dataset, { batchSize: sequences, seqLen });
    let nats = 0;
    let tokens = 0;
    let bytes = 0;
    for (let done = 0; done < batches; done++) {
      const read = reader.next(this.#batch);
      if (read === null) break;
      this.#pass.ids.upload(this.#batch.ids);
      this.#pass.targets.upload(this.#batch.targets);
      this.#pass.forward();
      nats += this.#pass.loss({ scale: 1 });
      tokens += read.targets;
      bytes += this.#bytesOfTargets();
    }
    return {
      loss: nats / tokens,
      bitsPerByte: this.#tokenBytes === null ? null : bitsPerByte({ nats, bytes }),
      tokens,
    };
  }

  #bytesOfTargets(): number {
    if (this.#tokenBytes === null) return 0;
    let bytes = 0;
    for (const target of this.#batch.targets) {
      if (target >= 0) bytes += this.#tokenBytes[target] ?? 0;
    }
    return bytes;
  }
}

function tokenLengths(tokenizer: Tokenizer): Uint32Array {
  const lengths = new Uint32Array(tokenizer.vocabSize);
  for (let id = 0; id < lengths.length; id++) {
    lengths[id] = id === tokenizer.eosId ? 0 : tokenizer.tokenBytes(id).length;
  }
  return lengths;
}
