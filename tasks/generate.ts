/**
 * `generate`: continues a prompt with a trained model.
 *
 * @module
 */

import { type Command, main } from "../lib/cli/command.ts";
import { formatDuration, formatRate } from "../lib/cli/format.ts";
import { HEAD_FLAG, loadFlaggedModel, MODEL_FLAGS } from "../lib/cli/model_flags.ts";
import { streamOutput } from "../lib/cli/progress.ts";
import type { LoadModelOptions } from "../lib/inference/load_model.ts";
import type { ActivationDType } from "../lib/tensor/dtype.ts";
import { generateText, type GenerationReport } from "../lib/inference/generate.ts";

export const command: Command = {
  name: "generate",
  summary: "continue a prompt with a trained model",
  description:
    "Prints the prompt and what the model makes of it, as it comes. The same seed gives the same text.",
  flags: [
    ...MODEL_FLAGS,
    HEAD_FLAG,
    {
      name: "cache",
      kind: "string",
      choices: ["float32", "bfloat16"],
      help: "keys and values; on the CPU bfloat16 is half to read (default as the device computes)",
    },
    { name: "prompt", kind: "string", required: true, placeholder: "TEXT", help: "the beginning" },
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
  ],
  async run(args) {
    using loaded = await loadFlaggedModel(args, {
      head: args.string("head") as LoadModelOptions["head"] & string,
    });
    const prompt = args.string("prompt");
    const cache = args.optionalString("cache");
    const generation = generateText(loaded, prompt, {
      maxTokens: args.integer("max-tokens"),
      temperature: args.number("temperature"),
      topK: args.integer("top-k"),
      topP: args.number("top-p"),
      seed: args.integer("seed"),
      ...(cache !== undefined && { cacheDtype: cache as ActivationDType }),
    });
    const out = streamOutput(Deno.stdout);
    let next = generation.next(); // what is wrong with the prompt shows here, before anything is printed
    if (args.boolean("echo")) out.write(prompt);
    for (; !next.done; next = generation.next()) out.write(next.value);
    out.write("\n");
    if (args.boolean("stats")) console.error(describe(next.value));
  },
};

function describe(report: GenerationReport): string {
  const { promptTokens, prefillMs, tokens, decodePasses, decodeMs, stop } = report;
  const rate = (count: number, ms: number) => formatRate(count > 0 ? 1000 * count / ms : NaN);
  return `prompt: ${promptTokens} tokens in ${formatDuration(prefillMs)}, ` +
    `${rate(promptTokens, prefillMs)}; text: ${tokens} tokens in ${formatDuration(decodeMs)}, ` +
    `${rate(decodePasses, decodeMs)}; stop: ${stop.replaceAll("_", " ")}`;
}

if (import.meta.main) await main(command);
