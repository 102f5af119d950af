/**
 * The flags of commands that run a trained model.
 *
 * @module
 */

import type { DeviceKind } from "../ffi/library.ts";
import { type LoadedModel, loadModel } from "../inference/load_model.ts";
import type { Flag, ParsedArgs } from "./command.ts";

/** Which model to run, and on what. */
export const MODEL_FLAGS: readonly Flag[] = [
  {
    name: "checkpoint",
    kind: "string",
    required: true,
    placeholder: "DIR",
    help: "a checkpoint, a run's folder (its newest sound one is taken) or a Hugging Face folder",
  },
  {
    name: "device",
    kind: "string",
    default: "auto",
    choices: ["auto", "cuda", "cpu"],
    help: "where to run; auto takes a CUDA card where there is one",
  },
  { name: "threads", kind: "integer", min: 0, help: "threads of the CPU, 0 for all cores" },
];

/** Loads the model that {@linkcode MODEL_FLAGS} name; says on stderr which newer checkpoints were passed over. */
export async function loadFlaggedModel(args: ParsedArgs): Promise<LoadedModel> {
  const threads = args.optionalInteger("threads");
  const loaded = await loadModel(args.string("checkpoint"), {
    device: {
      kind: args.string("device") as DeviceKind,
      ...(threads !== undefined && { threads }),
    },
  });
  for (const { path, reason } of loaded.passedOver) {
    console.error(`warning: passed over ${path}: ${reason}`);
  }
  return loaded;
}
