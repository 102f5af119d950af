/**
 * What `evaluate` shows while it runs and when it is done.
 *
 * @module
 */

import type { TokenizeProgress } from "../data/tokenize/tokenize_corpus.ts";
import type { Evaluation, EvaluationProgress } from "../evaluation/language_model.ts";
import type { TextObserver } from "../evaluation/text.ts";
import { formatDuration, formatRate, formatTable } from "./format.ts";
import type { ProgressOptions } from "./progress.ts";
import { ProgressStages } from "./progress_stages.ts";

const PLAIN_INTERVAL_MS = 5000;

/** Shows an evaluation's progress: first the tokenizing, where there is any, then the scoring. Made when the first begins. */
export class EvaluationReport implements TextObserver {
  readonly #stages: ProgressStages;

  /** Options of the lines, such as where they go. */
  constructor(options: ProgressOptions = {}) {
    this.#stages = new ProgressStages({ plainIntervalMs: PLAIN_INTERVAL_MS, ...options });
  }

  tokenized({ readBytes, totalBytes, tokens }: TokenizeProgress): void {
    const done = readBytes / totalBytes;
    this.#stages.line("tokenize", 1).update({ done, text: `${tokens} tokens` });
  }

  scored({ tokens, totalTokens, loss }: EvaluationProgress): void {
    const text = `${tokens}/${totalTokens} tokens, loss ${loss.toFixed(4)}`;
    this.#stages.line("evaluate", 1).update({ done: tokens / totalTokens, text });
  }

  leftOut(problem: string): void {
    this.#stages.line("tokenize", 1).log(`warning: left out ${problem}`);
  }

  /** Ends the line that stands. */
  finish(): void {
    this.#stages.finish();
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
