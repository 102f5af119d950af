/**
 * What a generation shows: texts, one of them as it comes, lines of JSON, and how it went.
 *
 * @module
 */

import type { GenerationReport, TextPiece } from "../inference/generate.ts";
import { formatDuration, formatRate } from "./format.ts";
import { print } from "./print.ts";
import type { Prompt } from "./prompts.ts";

/** How texts are shown. */
export interface TextOutput {
  /** Whether a prompt goes before its text. */
  readonly echo: boolean;
  /** Whether each text is a line of JSON. */
  readonly json: boolean;
  /** Seed of each text, for JSON. */
  readonly seeds: readonly number[];
  /** Takes the texts. @default stdout */
  readonly write?: (text: string) => void;
}

/** Texts of a generation in the making. */
type Texts = Generator<TextPiece, GenerationReport[], void>;

/**
 * Prints the text of one prompt as it comes, or several, each whole as soon as it and those before it are done, under a line with its
 * number. Throws `Deno.errors.BrokenPipe`, without computing more, where nobody reads them any more.
 */
export function printTexts(
  generation: Texts,
  prompts: readonly Prompt[],
  output: TextOutput,
): GenerationReport[] {
  const { write = print } = output;
  const lines = prompts.length === 1 && !output.json
    ? lineOfOne(generation, prompts[0]!, output)
    : linesOfAll(generation, prompts, output);
  try {
    for (;;) {
      const { done, value } = lines.next();
      if (done) return value;
      write(value);
    }
  } finally {
    generation.return([]); // frees its memory where it was not run to its end
  }
}

function* lineOfOne(
  generation: Texts,
  prompt: Prompt,
  { echo }: TextOutput,
): Generator<string, GenerationReport[], void> {
  let next = generation.next(); // what is wrong with the prompt shows here, before anything is printed
  if (echo) yield prompt.text;
  for (; !next.done; next = generation.next()) yield next.value.text;
  yield "\n";
  return next.value;
}

function* linesOfAll(
  generation: Texts,
  prompts: readonly Prompt[],
  { echo, json, seeds }: TextOutput,
): Generator<string, GenerationReport[], void> {
  const texts = prompts.map(() => "");
  const reports = new Map<number, GenerationReport>();
  const sampled = prompts.some(({ sample }) => sample > 1);
  let printed = 0;
  for (;;) {
    const { done, value } = generation.next();
    if (done) return value;
    texts[value.prompt] += value.text;
    if (value.report === null) continue;
    reports.set(value.prompt, value.report);
    for (; reports.has(printed); printed++) {
      const report = reports.get(printed)!;
      const prompt = prompts[printed]!;
      const text = texts[printed]!;
      const of = sampled ? `${prompt.index}, sample ${prompt.sample}` : prompt.index;
      yield json
        ? textToJson({ prompt, text, seed: seeds[printed]!, report }) + "\n"
        : `==> ${of} <==\n${echo ? prompt.text : ""}${text}\n`;
    }
  }
}

function textToJson(
  { prompt, text, seed, report }: {
    prompt: Prompt;
    text: string;
    seed: number;
    report: GenerationReport;
  },
): string {
  return JSON.stringify({
    index: prompt.index,
    sample: prompt.sample,
    prompt: prompt.text,
    text,
    stop: report.stop,
    prompt_tokens: report.promptTokens,
    tokens: report.tokens,
    seed,
  });
}

/** Says that texts were cut off where the context was full, which nobody asked for; `null` where none was. */
export function describeFullContexts(
  reports: readonly GenerationReport[],
  contextLength: number,
): string | null {
  const full = reports.filter(({ stop }) => stop === "context_full").length;
  if (full === 0) return null;
  const which = reports.length === 1 ? "the text" : `${full} of ${reports.length} texts`;
  return `note: ${which} ended as the context of ${contextLength} tokens was full`;
}

/** A text's rates, and why it ended, as one line. */
export function describeGeneration(report: GenerationReport): string {
  const { promptTokens, prefillMs, tokens, decodePasses, decodeMs, stop } = report;
  const rate = (count: number, ms: number) => formatRate(count > 0 ? 1000 * count / ms : NaN);
  return `prompt: ${promptTokens} tokens in ${formatDuration(prefillMs)}, ` +
    `${rate(promptTokens, prefillMs)}; text: ${tokens} tokens in ${formatDuration(decodeMs)}, ` +
    `${rate(decodePasses, decodeMs)}; stop: ${stop.replaceAll("_", " ")}`;
}
