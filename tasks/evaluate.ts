/**
 * `evaluate`: loss, perplexity and bits per byte of a trained model on text.
 *
 * @module
 */

import { type Command, main, type ParsedArgs } from "../lib/cli/command.ts";
import {
  EvaluationReport,
  evaluationToJson,
  formatEvaluation,
} from "../lib/cli/evaluation_report.ts";
import { onInterrupt } from "../lib/cli/interrupt.ts";
import { printable } from "../lib/cli/printable.ts";
import { tell } from "../lib/cli/progress.ts";
import { loadFlaggedModel, MODEL_FLAGS } from "../lib/cli/model_flags.ts";
import type { TokenDataset } from "../lib/data/shards.ts";
import { openTextFor, scoreText } from "../lib/evaluation/text.ts";
import type { LoadedModel } from "../lib/inference/load_model.ts";
import { importLayersFile } from "../lib/training/import_layers.ts";

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
    const layersFile = args.optionalString("layers");
    using loaded = await loadFlaggedModel(args, {
      ...(layersFile !== undefined && { layers: (await importLayersFile(layersFile)).layers }),
    });
    const data = args.string("data");
    const seqLen = args.optionalInteger("seq-len") ?? loaded.contextLength;
    const stride = args.optionalInteger("stride") ?? Math.ceil(seqLen / 2);
    const maxTokens = args.optionalInteger("max-tokens");
    const report = new EvaluationReport();
    const opened = await openData(loaded, args, report);
    if (typeof opened === "number") return opened;
    using dataset = opened;
    const found = scoreText(loaded, dataset, {
      path: data,
      seqLen,
      stride,
      ...(maxTokens !== undefined && { maxTokens }),
      observer: report,
    });
    report.finish();
    if (!args.boolean("json")) {
      console.log(printable(formatEvaluation(found, { seqLen, stride })));
      return 0;
    }
    const { path: checkpoint, step } = loaded;
    const place = { checkpoint, step, data, seq_len: seqLen, stride };
    console.log(JSON.stringify({ ...evaluationToJson(found), ...place }));
    return 0;
  },
};

/** The data's tokens; the exit code where a signal came while a text was being tokenized, of which nothing is then left. */
async function openData(
  loaded: LoadedModel,
  args: ParsedArgs,
  observer: EvaluationReport,
): Promise<TokenDataset | number> {
  using interrupt = onInterrupt(() => tell("\nstopping, nothing will be left behind"));
  const { signal } = interrupt;
  try {
    const textField = args.string("text-field");
    return await openTextFor(loaded, args.string("data"), { textField, observer, signal });
  } catch (error) {
    if (signal.aborted) return interrupt.exitCode;
    throw error;
  }
}

if (import.meta.main) await main(command);
