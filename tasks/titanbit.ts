/**
 * Every command in one program: `titanbit NAME …` is `deno task NAME …`.
 *
 * @module
 */

import { type Program, runProgram } from "../lib/cli/subcommands.ts";
import { VERSION } from "../lib/cli/version.ts";

/** The program; commands load when they are asked for, so that starting one costs nothing for the others. */
export const program: Program = {
  name: "titanbit",
  summary: "pretrain BitNet b1.58 language models and run them",
  version: VERSION,
  commands: [
    {
      name: "info",
      summary:
        "what a model or a run costs: parameters, memory, FLOPs, hours; and what was found here",
      load: () => import("./info.ts"),
    },
    {
      name: "fetch-corpus",
      summary: "fetch the quickstart's corpus and hold some of it out",
      load: () => import("./fetch_corpus.ts"),
    },
    {
      name: "tokenize",
      summary: "turn text files into a token file, with a tokenizer given or trained",
      load: () => import("./tokenize.ts"),
    },
    {
      name: "train",
      summary: "train a model from a config, or resume one",
      load: () => import("./train.ts"),
    },
    {
      name: "dashboard",
      summary: "show one or several runs in a browser, live or afterwards",
      load: () => import("./dashboard.ts"),
    },
    {
      name: "report",
      summary: "write charts, summary, config and events of runs into one HTML file",
      load: () => import("./report.ts"),
    },
    {
      name: "generate",
      summary: "continue prompts with a trained model",
      load: () => import("./generate.ts"),
    },
    {
      name: "evaluate",
      summary: "loss, perplexity and bits per byte of a trained model on text",
      load: () => import("./evaluate.ts"),
    },
    {
      name: "export",
      summary: "write a trained model as a Hugging Face folder",
      load: () => import("./export.ts"),
    },
    {
      name: "bench",
      summary: "measure kernels beside their rivals",
      load: () => import("./bench.ts"),
    },
    {
      name: "compile",
      summary: "pack everything into one executable",
      load: () => import("./compile.ts"),
    },
  ],
};

if (import.meta.main) Deno.exit(await runProgram(program, Deno.args));
