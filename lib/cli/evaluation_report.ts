/**
 * What `evaluate` shows while it runs and when it is done.
 *
 * @module
 */

import type { TokenizeProgress } from "../data/tokenize/tokenize_corpus.ts";
import type { Evaluation, EvaluationProgress } from "../evaluation/language_model.ts";
import type { TextObserver } from "../evaluation/text.ts";
import { formatDuration, formatRate, formatTable } from "./format.ts";
import { ProgressLine, type ProgressOptions } from "./progress.ts";

const PLAIN_INTERVAL_MS = 5000;

/** Shows an evaluation's progress: first the tokenizing, where there is any, then the scoring. Made when the first begins. */
export class EvaluationReport implements TextObserver {
  readonly #options: ProgressOptions;
  readonly #now: () => number;
  #line: ProgressLine | null = null;
  #label = "";
  /** When the current stage began: where the one before it was last heard of. */
  #stageAt: number;
  #heardAt: number;

  /** Options of the lines, such as where they go. */
  constructor(options: ProgressOptions = {}) {
    this.#options = { plainIntervalMs: PLAIN_INTERVAL_MS, ...options };
    this.#now = options.now ?? (() => performance.now());
    this.#stageAt = this.#heardAt = this.#now();
  }

  tokenized({ readBytes, totalBytes, tokens }: TokenizeProgress): void {
    this.#lineOf("tokenize").update({ done: readBytes / totalBytes, text: `${tokens} tokens` });
  }

  scored({ tokens, totalTokens, loss }: EvaluationProgress): void {
    const text = `${tokens}/${totalTokens} tokens, loss ${loss.toFixed(4)}`;
    this.#lineOf("evaluate").update({ done: tokens / totalTokens, text });
  }

  leftOut(problem: string): void {
    this.#lineOf("tokenize").log(`warning: left out ${problem}`);
  }

  /** Ends the line that stands. */
  finish(): void {
    this.#line?.finish();
    this.#line = null;
  }

  #lineOf(label: string): ProgressLine {
    if (this.#label !== label) {
      this.finish();
      this.#stageAt = this.#heardAt;
    }
    this.#label = label;
    this.#heardAt = this.#now();
    const startedAt = this.#stageAt;
    return this.#line ??= new ProgressLine({ ...this.#options, total: 1, label, startedAt });
  }
}

/** The figures as a table. */
export function formatEvaluation(
  found: Evaluation,
  window: { seqLen: number; stride: number },
): string {
  const { loss, perplexity, bitsPerByte, tokens, endTokens, bytes, ms } = found;
  const text = bytes === null ? "" : `, ${bytes} bytes of text and ${endTokens} ends of documents`;
  return formatTable([
    ["loss", `${loss.toFixed(4)} nats a token`],
    ["perplexity", perplexity.toFixed(2)],
    ["bits per byte", bitsPerByte?.toFixed(4) ?? "unknown without the model's tokenizer.json"],
    ["scored", `${tokens} tokens${text}`],
    ["windows", `${window.seqLen} tokens, ${window.stride} apart`],
    ["time", `${formatDuration(ms)}, ${formatRate(1000 * tokens / ms)}`],
  ]);
}

/** The figures under the names they have in JSON. */
export function evaluationToJson(found: Evaluation): Record<string, number | null> {
  return {
    loss: found.loss,
    perplexity: found.perplexity,
    bits_per_byte: found.bitsPerByte,
    tokens: found.tokens,
    end_tokens: found.endTokens,
    bytes: found.bytes,
    ms: found.ms,
  };
}
