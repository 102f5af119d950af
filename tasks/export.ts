/**
 * `export`: a trained model as a folder in Hugging Face's form.
 *
 * @module
 */

import { type ExportDType, exportModel } from "../lib/checkpoint/export_model.ts";
import { type Command, main } from "../lib/cli/command.ts";
import { formatBytes } from "../lib/cli/format.ts";
import { CHECKPOINT_FLAG, warnPassedOver } from "../lib/cli/model_flags.ts";
import { tell } from "../lib/cli/progress.ts";

/** `export`. */
export const command: Command = {
  name: "export",
  summary: "write a trained model as a Hugging Face folder",
  description:
    "Writes model.safetensors, config.json and, where there is one, tokenizer.json: the latent weights, without the optimizer and the " +
    "run. `generate` and `evaluate` load the folder; its names and config.json are those of transformers' BitNetForCausalLM.",
  flags: [
    CHECKPOINT_FLAG,
    {
      name: "output",
      kind: "string",
      required: true,
      placeholder: "FOLDER",
      help: "the folder to write, new or empty",
      alias: "o",
    },
    {
      name: "dtype",
      kind: "string",
      choices: ["float32", "bfloat16"],
      default: "float32",
      help:
        "of the weights; bfloat16 is half the bytes and can move a ternary value at a threshold",
    },
  ],
  examples: [
    "deno task export --checkpoint checkpoints/quickstart --output exported/quickstart",
    "deno task export --checkpoint checkpoints/125m/step_0010000 --output exported/125m --dtype bfloat16",
  ],
  async run(args) {
    const output = args.string("output");
    const dtype = args.string("dtype") as ExportDType;
    const exported = await exportModel(args.string("checkpoint"), output, { dtype });
    warnPassedOver(exported.passedOver);
    if (exported.ownLayers.length > 0) {
      tell(
        `warning: the model's layers of kind ${
          exported.ownLayers.join(", ")
        } are a program's own: without these, as in transformers, the folder's weights compute something else`,
      );
    }
    tell(`${exported.path}: ${exported.files.join(", ")}, ${formatBytes(exported.bytes)}`);
    console.log(output);
  },
};

if (import.meta.main) await main(command);
