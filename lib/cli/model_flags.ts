/**
 * The flags of commands that run a trained model.
 *
 * @module
 */

import type { PassedOver } from "../checkpoint/find.ts";
import type { DeviceKind } from "../ffi/library.ts";
import { type LoadedModel, loadModel, type LoadModelOptions } from "../inference/load_model.ts";
import type { Flag, ParsedArgs } from "./command.ts";
import { tell } from "./progress.ts";

/** Which model to take. */
export const CHECKPOINT_FLAG: Flag = {
  name: "checkpoint",
  kind: "string",
  required: true,
  placeholder: "DIR",
  help: "a checkpoint, a run's folder (its newest sound one is taken) or a Hugging Face folder",
};

/** Layers of the user's own. */
export const LAYERS_FLAG: Flag = {
  name: "layers",
  kind: "string",
  placeholder: "FILE",
  help: "module that exports `layers` in the place of BitNet's own, see docs/research.md",
};

/** Which model to run, and on what. */
export const MODEL_FLAGS: readonly Flag[] = [
  CHECKPOINT_FLAG,
  LAYERS_FLAG,
  {
    name: "device",
    kind: "string",
    default: "auto",
    choices: ["auto", "cuda", "cpu"],
    help: "where to run; auto takes a CUDA card where there is one",
  },
  {
    name: "threads",
    kind: "integer",
    min: 0,
    help: "threads of the CPU, at most its cores; 0 for all",
  },
];

/** Weights of the head, for commands that choose tokens. */
export const HEAD_FLAG: Flag = {
  name: "head",
  kind: "string",
  default: "auto",
  choices: ["auto", "float32", "bfloat16", "int8"],
  help:
    "weights of the head: as trained, bfloat16 (CUDA), or in 8 bits, a quarter to read; auto is int8 on the CPU",
};

/** Loads the model that {@linkcode MODEL_FLAGS} name, with the layers that the caller has imported; says on stderr which newer checkpoints were passed over, and where the tokenizer may be another's. */
export async function loadFlaggedModel(
  args: ParsedArgs,
  options: Pick<LoadModelOptions, "head" | "layers"> = {},
): Promise<LoadedModel> {
  const threads = args.optionalInteger("threads");
  const loaded = await loadModel(args.string("checkpoint"), {
    ...options,
    device: {
      kind: args.string("device") as DeviceKind,
      ...(threads !== undefined && { threads, threadsSetting: "--threads" }),
    },
  });
  warnPassedOver(loaded.passedOver);
  if (loaded.tokenizerDoubt !== null) tell(`warning: ${loaded.tokenizerDoubt}`);
  return loaded;
}

/** Says on stderr which newer checkpoints were passed over. */
export function warnPassedOver(passedOver: readonly PassedOver[]): void {
  for (const { path, reason } of passedOver) {
    tell(`warning: passed over ${path}: ${reason}`);
  }
}
