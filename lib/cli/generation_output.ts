/**
 * What a generation shows: texts, one of them as it comes, lines of JSON, and how it went.
 *
 * @module
 */

import type { GenerationReport, TextPiece } from "../inference/generate.ts";
import { formatDuration, formatRate } from "./format.ts";
import { streamOutput } from "./progress.ts";
import type { Prompt } from "./prompts.ts";

/** How texts are shown. */
export interface TextOutput {
  /** Whether a prompt goes before its text. */
  readonly echo: boolean;
  /** Whether each text is a line of JSON. */
  readonly json: boolean;
  /** Seed of each text, for JSON. */
  readonly seeds: readonly number[];
}

/** Texts of a generation in the making. */
type Texts = Generator<TextPiece, GenerationReport[], void>;

/** Prints the text of one prompt as it comes, or several when all are there, each under a line with its number. */
export function printTexts(
  generation: Texts,
  prompts: readonly Prompt[],
  output: TextOutput,
): GenerationReport[] {
  return prompts.length === 1 && !output.json
    ? printOne(generation, prompts[0]!, output)
    : printAll(generation, prompts, output);
}

function printOne(generation: Texts, prompt: Prompt, { echo }: TextOutput): GenerationReport[] {
  const out = streamOutput(Deno.stdout);
  let next = generation.next(); // what is wrong with the prompt shows here, before anything is printed
  if (echo) out.write(prompt.text);
  for (; !next.done; next = generation.next()) out.write(next.value.text);
  out.write("\n");
  return next.value;
}

function printAll(
  generation: Texts,
  prompts: readonly Prompt[],
  { echo, json, seeds }: TextOutput,
): GenerationReport[] {
  const texts = prompts.map(() => "");
  let next = generation.next();
  for (; !next.done; next = generation.next()) texts[next.value.prompt] += next.value.text;
  const reports = next.value;
  const out = streamOutput(Deno.stdout);
  const sampled = prompts.some(({ sample }) => sample > 1);
  for (const [i, prompt] of prompts.entries()) {
    const { index, sample, text } = prompt;
    const of = sampled ? `${index}, sample ${sample}` : index;
    out.write(
      json
        ? textToJson({ prompt, text: texts[i]!, seed: seeds[i]!, report: reports[i]! }) + "\n"
        : `==> ${of} <==\n${echo ? text : ""}${texts[i]}\n`,
    );
  }
  return reports;
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
