/**
 * The checkpoints of one run: where they go, what is in them, and which stay.
 *
 * @module
 */

import { applyRetention } from "../checkpoint/retention.ts";
import { saveCheckpoint, type SavedCheckpoint } from "../checkpoint/save.ts";
import { runConfigToYaml } from "../config/print.ts";
import type { RunConfig } from "../config/run_config.ts";
import type { TensorSource } from "../interop/safetensors.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import type { LoopState } from "./loop_state.ts";
import { runFolder } from "./run_folder.ts";

/** Saves a run's checkpoints. */
export class RunCheckpoints {
  readonly #config: RunConfig;
  readonly #tokenizer: Tokenizer | null;

  constructor(config: RunConfig, tokenizer: Tokenizer | null) {
    this.#config = config;
    this.#tokenizer = tokenizer;
  }

  /** Saves one. Throws `CheckpointError` where it can't be written; the earlier ones then stay as they are. */
  async save(
    state: LoopState,
    tensors: { parameters: TensorSource[]; optimizer: TensorSource[] },
  ): Promise<SavedCheckpoint> {
    const config = this.#config;
    return await saveCheckpoint(runFolder(config), {
      step: state.step,
      model: config.model,
      ...tensors,
      state,
      runConfig: runConfigToYaml(config),
      tokenizerJson: this.#tokenizer?.json ?? null,
      ...(this.#tokenizer !== null && {
        specialTokens: {
          bosTokenId: this.#tokenizer.bosId,
          eosTokenId: this.#tokenizer.eosId,
          padTokenId: null,
        },
      }),
    });
  }

  /** Deletes those that need not stay now that `saved` is in place. Throws `CheckpointError` where it can't. */
  async tidy(saved: SavedCheckpoint): Promise<void> {
    const { keepLast, keepEvery } = this.#config.checkpoint;
    await applyRetention(runFolder(this.#config), {
      keepLast,
      keepEvery: keepEvery === 0 ? null : keepEvery,
      justSaved: saved.path,
    });
  }
}
