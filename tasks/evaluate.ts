/**
 * `evaluate`: loss, perplexity and bits per byte of a trained model on text.
 *
 * @module
 */

import { type Command, main } from "../lib/cli/command.ts";
import {
  EvaluationReport,
  evaluationToJson,
  formatEvaluation,
} from "../lib/cli/evaluation_report.ts";
import { loadFlaggedModel, MODEL_FLAGS } from "../lib/cli/model_flags.ts";
import { evaluateText } from "../lib/evaluation/text.ts";

export const command: Command = {
  name: "evaluate",
  summary: "loss, perplexity and bits per byte of a trained model on text",
  description:
    "Slides a window over the text: every token but the first is scored once, with the ones before it in its window.",
  flags: [
    ...MODEL_FLAGS,
    {
      name: "data",
      kind: "string",
      required: true,
      placeholder: "FILE",
      help: "a token file (.tokens, .bin), or a text file or folder as `tokenize` takes it",
    },
    {
      name: "seq-len",
      kind: "integer",
      min: 1,
      help: "tokens of a window; by default those of a sequence in training",
    },
    {
      name: "stride",
      kind: "integer",
      min: 1,
      help: "tokens from one window to the next; by default half a window",
    },
    { name: "max-tokens", kind: "integer", min: 1, help: "score so many tokens at most" },
    { name: "text-field", kind: "string", default: "text", help: "field of .jsonl and .parquet" },
    { name: "json", kind: "boolean", help: "print one line of JSON instead of a table" },
  ],
  examples: [
    "deno task evaluate --checkpoint checkpoints/quickstart --data data/sotu.val.tokens",
    "deno task evaluate --checkpoint checkpoints/quickstart --data data/sotu/heldout --json",
  ],
  async run(args) {
    using loaded = await loadFlaggedModel(args);
    const data = args.string("data");
    const seqLen = args.optionalInteger("seq-len") ?? loaded.contextLength;
    const stride = args.optionalInteger("stride") ?? Math.ceil(seqLen / 2);
    const maxTokens = args.optionalInteger("max-tokens");
    const report = new EvaluationReport();
    const found = await evaluateText(loaded, data, {
      seqLen,
      stride,
      ...(maxTokens !== undefined && { maxTokens }),
      textField: args.string("text-field"),
      observer: report,
    });
    report.finish();
    if (!args.boolean("json")) return console.log(formatEvaluation(found, { seqLen, stride }));
    const { path: checkpoint, step } = loaded;
    const place = { checkpoint, step, data, seq_len: seqLen, stride };
    console.log(JSON.stringify({ ...evaluationToJson(found), ...place }));
  },
};

if (import.meta.main) await main(command);
