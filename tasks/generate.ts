/**
 * `generate`: continues a prompt with a trained model.
 *
 * @module
 */

import { type Command, main, type ParsedArgs, UsageError } from "../lib/cli/command.ts";
import { formatDuration, formatRate } from "../lib/cli/format.ts";
import { HEAD_FLAG, loadFlaggedModel, MODEL_FLAGS } from "../lib/cli/model_flags.ts";
import { streamOutput } from "../lib/cli/progress.ts";
import { MOST_SEQUENCES } from "../lib/inference/decoder.ts";
import type { LoadedModel, LoadModelOptions } from "../lib/inference/load_model.ts";
import type { CacheDType } from "../lib/tensor/dtype.ts";
import {
  generateText,
  generateTexts,
  type GenerationReport,
  type TextOptions,
} from "../lib/inference/generate.ts";

export const command: Command = {
  name: "generate",
  summary: "continue prompts with a trained model",
  description:
    "Prints the prompt and what the model makes of it, as it comes; of several prompts each whole, in their order. The same seed gives " +
    "the same text, whatever runs beside it.",
  flags: [
    ...MODEL_FLAGS,
    HEAD_FLAG,
    {
      name: "cache",
      kind: "string",
      choices: ["float32", "bfloat16", "int8"],
      help:
        "keys and values: what the device computes in (default), bfloat16 too on the CPU, or 8 bits",
    },
    {
      name: "prompt",
      kind: "list",
      placeholder: "TEXT",
      help: "the beginning; again for another text",
    },
    { name: "prompts", kind: "string", placeholder: "FILE", help: "beginnings, one a line" },
    {
      name: "sequences",
      kind: "integer",
      min: 1,
      max: MOST_SEQUENCES,
      help: "texts at a time (default all, up to 16)",
    },
    { name: "max-tokens", kind: "integer", default: 256, min: 1, help: "tokens to add at most" },
    {
      name: "temperature",
      kind: "number",
      default: 0.8,
      min: 0,
      help: "below 1 bolder towards the likely; 0 always takes the likeliest",
    },
    {
      name: "top-k",
      kind: "integer",
      default: 50,
      min: 0,
      help: "choose among so many of the likeliest tokens; 0 for all",
    },
    {
      name: "top-p",
      kind: "number",
      default: 1,
      max: 1,
      help: "choose among the likeliest tokens of this probability; 1 for all",
    },
    { name: "seed", kind: "integer", default: 0, min: 0, help: "seed of the choices" },
    { name: "echo", kind: "boolean", default: true, help: "print the prompt before its text" },
    { name: "stats", kind: "boolean", help: "say tokens a second on stderr" },
  ],
  examples: [
    'deno task generate --checkpoint checkpoints/quickstart --prompt "My fellow citizens"',
    'deno task generate --checkpoint checkpoints/quickstart --prompt "The" --temperature 0 --stats',
    'deno task generate --checkpoint checkpoints/quickstart --prompt "We" --prompt "The" --max-tokens 40',
  ],
  async run(args) {
    const prompts = await promptsOf(args);
    using loaded = await loadFlaggedModel(args, {
      head: args.string("head") as LoadModelOptions["head"] & string,
    });
    const cache = args.optionalString("cache");
    const sequences = args.optionalInteger("sequences");
    const settings = {
      maxTokens: args.integer("max-tokens"),
      temperature: args.number("temperature"),
      topK: args.integer("top-k"),
      topP: args.number("top-p"),
      seed: args.integer("seed"),
      ...(cache !== undefined && { cacheDtype: cache as CacheDType }),
      ...(sequences !== undefined && { sequences }),
    };
    const echo = args.boolean("echo");
    const reports = prompts.length === 1
      ? [printOne(loaded, prompts[0]!, { ...settings, echo })]
      : printAll(loaded, prompts, { ...settings, echo });
    if (args.boolean("stats")) { for (const report of reports) console.error(describe(report)); }
  },
};

/** The prompts of --prompt, then those of --prompts. */
async function promptsOf(args: ParsedArgs): Promise<string[]> {
  const file = args.optionalString("prompts");
  const lines = file === undefined ? [] : (await Deno.readTextFile(file)).split(/\r?\n/);
  if (lines.at(-1) === "") lines.pop();
  const prompts = [...args.list("prompt"), ...lines];
  if (prompts.length > 0) return prompts;
  throw new UsageError(
    file === undefined
      ? 'Cannot run generate as it needs a prompt: give --prompt "TEXT", or --prompts FILE'
      : `Cannot run generate as ${file} must hold a prompt a line: current value is no line`,
  );
}

/** Prints a text as it comes. */
function printOne(
  loaded: LoadedModel,
  prompt: string,
  options: TextOptions & { echo: boolean },
): GenerationReport {
  const generation = generateText(loaded, prompt, options);
  const out = streamOutput(Deno.stdout);
  let next = generation.next(); // what is wrong with the prompt shows here, before anything is printed
  if (options.echo) out.write(prompt);
  for (; !next.done; next = generation.next()) out.write(next.value);
  out.write("\n");
  return next.value;
}

/** Prints texts when all are there, each under a line with its number. */
function printAll(
  loaded: LoadedModel,
  prompts: readonly string[],
  options: TextOptions & { sequences?: number; echo: boolean },
): GenerationReport[] {
  const texts = prompts.map((prompt) => options.echo ? prompt : "");
  const generation = generateTexts(loaded, prompts, options);
  let next = generation.next();
  for (; !next.done; next = generation.next()) texts[next.value.prompt] += next.value.text;
  const out = streamOutput(Deno.stdout);
  texts.forEach((text, i) => out.write(`==> ${i + 1} <==\n${text}\n`));
  return next.value;
}

function describe(report: GenerationReport): string {
  const { promptTokens, prefillMs, tokens, decodePasses, decodeMs, stop } = report;
  const rate = (count: number, ms: number) => formatRate(count > 0 ? 1000 * count / ms : NaN);
  return `prompt: ${promptTokens} tokens in ${formatDuration(prefillMs)}, ` +
    `${rate(promptTokens, prefillMs)}; text: ${tokens} tokens in ${formatDuration(decodeMs)}, ` +
    `${rate(decodePasses, decodeMs)}; stop: ${stop.replaceAll("_", " ")}`;
}

if (import.meta.main) await main(command);
