/**
 * `generate`: continues a prompt with a trained model.
 *
 * @module
 */

import { type Command, main, UsageError } from "../lib/cli/command.ts";
import {
  describeFullContexts,
  describeGeneration,
  printTexts,
} from "../lib/cli/generation_output.ts";
import { HEAD_FLAG, loadFlaggedModel, MODEL_FLAGS } from "../lib/cli/model_flags.ts";
import { tell } from "../lib/cli/progress.ts";
import { readPrompts } from "../lib/cli/prompts.ts";
import { MOST_SEQUENCES } from "../lib/inference/decoder.ts";
import { generateTexts, sampleSeeds } from "../lib/inference/generate.ts";
import type { LoadModelOptions } from "../lib/inference/load_model.ts";
import type { CacheDType } from "../lib/tensor/dtype.ts";
import { importLayersFile } from "../lib/training/import_layers.ts";

export const command: Command = {
  name: "generate",
  summary: "continue prompts with a trained model",
  description:
    "Prints the prompt and what the model makes of it, as it comes; of several texts each whole, in their order. The same seed gives " +
    "the same text, whatever runs beside it: sample 2 of a prompt is what --seed 1 gives alone, and equal prompts are samples of one.",
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
    {
      name: "prompts",
      kind: "string",
      placeholder: "FILE",
      help: "beginnings, one a line; blank lines are passed over, - is standard input",
    },
    {
      name: "samples",
      kind: "integer",
      default: 1,
      min: 1,
      max: 10000,
      help: "texts of each prompt, from --seed and the numbers after it",
    },
    {
      name: "sequences",
      kind: "integer",
      min: 1,
      max: MOST_SEQUENCES,
      help: "texts at a time (default all, up to 16)",
    },
    {
      name: "stop",
      kind: "list",
      placeholder: "TEXT",
      help: "end a text where this comes up, without it; again for another",
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
    {
      name: "json",
      kind: "boolean",
      help: "print a line of JSON a text: prompt, text, why it ended, tokens, seed",
    },
    { name: "stats", kind: "boolean", help: "say tokens a second and why it ended on stderr" },
  ],
  examples: [
    'deno task generate --checkpoint checkpoints/quickstart --prompt "My fellow citizens"',
    'deno task generate --checkpoint checkpoints/quickstart --prompt "The" --temperature 0 --stats',
    'deno task generate --checkpoint checkpoints/quickstart --prompt "We" --prompt "The" --max-tokens 40',
    'deno task generate --checkpoint checkpoints/quickstart --prompt "We" --samples 8 --stop . --json',
  ],
  async run(args) {
    const samples = args.integer("samples");
    const temperature = args.number("temperature");
    if (samples > 1 && temperature === 0) {
      throw new UsageError(
        `Cannot draw ${samples} --samples as --temperature must be above 0: current value is 0, which always gives the same text`,
      );
    }
    const prompts = await readPrompts(args, samples);
    const layersFile = args.optionalString("layers");
    using loaded = await loadFlaggedModel(args, {
      ...(layersFile !== undefined && { layers: (await importLayersFile(layersFile)).layers }),
      head: args.string("head") as LoadModelOptions["head"] & string,
    });
    const cache = args.optionalString("cache");
    const sequences = args.optionalInteger("sequences");
    const settings = {
      maxTokens: args.integer("max-tokens"),
      temperature,
      topK: args.integer("top-k"),
      topP: args.number("top-p"),
      seed: args.integer("seed"),
      stopTexts: args.list("stop"),
      names: prompts.map(({ name }) => name),
      ...(cache !== undefined && { cacheDtype: cache as CacheDType }),
      ...(sequences !== undefined && { sequences }),
    };
    const texts = prompts.map(({ text }) => text);
    const reports = printTexts(generateTexts(loaded, texts, settings), prompts, {
      echo: args.boolean("echo"),
      json: args.boolean("json"),
      seeds: sampleSeeds(texts, settings.seed),
    });
    if (args.boolean("stats")) {
      reports.forEach((report) => tell(describeGeneration(report)));
    }
    const note = describeFullContexts(reports, loaded.contextLength);
    if (note !== null) tell(note);
  },
};

if (import.meta.main) await main(command);
