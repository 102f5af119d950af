/**
 * The checkpoints of one run: where they go, what is in them, and which stay.
 *
 * @module
 */

import { join } from "@std/path";
import { CheckpointError } from "../checkpoint/errors.ts";
import { stepFolderName } from "../checkpoint/layout.ts";
import { type Checkpoint, openCheckpoint } from "../checkpoint/open.ts";
import { applyRetention, discardCheckpoints } from "../checkpoint/retention.ts";
import { saveCheckpoint, type SavedCheckpoint } from "../checkpoint/save.ts";
import { runConfigToYaml } from "../config/print.ts";
import type { RunConfig } from "../config/run_config.ts";
import type { OwnParameter } from "../interop/huggingface.ts";
import type { TensorSource } from "../interop/safetensors.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import type { LoopState } from "./loop_state.ts";
import { runFolder } from "./run_folder.ts";
import type { TrainingObserver } from "./observer.ts";
import { type RunData, withoutHashOf } from "./run_data.ts";

/** What {@linkcode RunCheckpoints.keep} saves and deletes besides the state. */
export interface KeptTensors {
  readonly tensors: { readonly parameters: TensorSource[]; readonly optimizer: TensorSource[] };
  /** Checkpoints after `from` up to `to` are deleted once the new one is in place: their steps are undone. @default none */
  readonly undone?: { readonly from: number; readonly to: number };
  /** A file of the data that was found damaged. @default none */
  readonly damaged?: string | null;
}

/** Keeps a run's checkpoints and records what becomes of them. */
export class RunCheckpoints {
  readonly #config: RunConfig;
  readonly #tokenizer: Tokenizer | null;
  readonly #observer: TrainingObserver;
  readonly #ownLayers: readonly string[];
  readonly #startIds: readonly number[] | null;
  readonly #ownParameters: readonly OwnParameter[];
  readonly #data: RunData;
  #failure: string | null = null;
  /** Steps whose checkpoints are void, but still there as none could be saved since. */
  #void: { readonly from: number; readonly to: number } | null = null;

  constructor(
    config: RunConfig,
    parts: {
      tokenizer: Tokenizer | null;
      /** What documents begin with; null where nothing says so. */
      startIds: readonly number[] | null;
      observer: TrainingObserver;
      /** Kinds of layers that are a program's own. */
      ownLayers: readonly string[];
      /** Parameters that those added to BitNet's. */
      ownParameters: readonly OwnParameter[];
      /** The files that the run is trained on. */
      data: RunData;
    },
  ) {
    this.#config = config;
    this.#tokenizer = parts.tokenizer;
    this.#observer = parts.observer;
    this.#ownLayers = parts.ownLayers;
    this.#startIds = parts.startIds;
    this.#ownParameters = parts.ownParameters;
    this.#data = parts.data;
  }

  /** Why the last one could not be written, or is not safe; null where it is. */
  get failure(): string | null {
    return this.#failure;
  }

  /**
   * Saves a checkpoint and deletes those that need not stay; its path, or null where it could not be written: a full disk costs
   * the checkpoint, not the run.
   */
  async keep(state: LoopState, kept: KeptTensors): Promise<string | null> {
    const { tensors, undone, damaged = null } = kept;
    const data = damaged === null ? this.#data : withoutHashOf(damaged, this.#data);
    const record = { type: "checkpoint", step: state.step } as const;
    if (undone !== undefined) {
      this.#void = {
        from: Math.min(undone.from, this.#void?.from ?? undone.from),
        to: Math.max(undone.to, this.#void?.to ?? undone.to),
      };
    }
    let saved: SavedCheckpoint;
    try {
      saved = await this.#save({ ...state, data }, tensors);
    } catch (error) {
      const { message } = checkpointError(error);
      this.#failure = message;
      this.#observer.record({ ...record, path: "", write_ms: 0, size_bytes: 0, error: message });
      this.#observer.warn(`${message}; training goes on`);
      return null;
    }
    const { path, ms, bytes, unsafe } = saved;
    this.#failure = unsafe;
    const range = this.#void;
    if (range !== null) {
      this.#void = null;
      const but = state.step;
      await this.#survive(() => discardCheckpoints(runFolder(this.#config), { ...range, but }));
    }
    // From here on a resumed run goes on from it: older steps with higher numbers are gone.
    this.#observer.record({ ...record, path, write_ms: ms, size_bytes: bytes, error: null });
    if (unsafe === null) await this.#survive(() => this.#tidy(saved, state));
    else this.#observer.warn(unsafe); // older ones stay
    return path;
  }

  /** Opens the one of a step. Throws `CheckpointError` where it is not sound. */
  async open(step: number): Promise<Checkpoint> {
    return await openCheckpoint(join(runFolder(this.#config), stepFolderName(step)));
  }

  /** Does something that a run does not depend on. */
  async #survive(action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      this.#observer.warn(`${checkpointError(error).message}; training goes on`);
    }
  }

  async #save(
    state: LoopState & { readonly data: RunData },
    tensors: { parameters: TensorSource[]; optimizer: TensorSource[] },
  ): Promise<SavedCheckpoint> {
    const config = this.#config;
    return await saveCheckpoint(runFolder(config), {
      step: state.step,
      model: config.model,
      ...tensors,
      state,
      runConfig: runConfigToYaml(config),
      ownLayers: this.#ownLayers,
      ownParameters: this.#ownParameters,
      tokenizerJson: this.#tokenizer?.json ?? null,
      specialTokens: {
        bosTokenId: this.#tokenizer?.bosId ?? null,
        eosTokenId: this.#tokenizer?.eosId ?? null,
        padTokenId: null,
        ...(this.#startIds !== null && { startIds: this.#startIds }),
      },
    });
  }

  /** Those that the run may go back to stay whatever else says. */
  async #tidy(saved: SavedCheckpoint, state: LoopState): Promise<void> {
    const { keepLast, keepEvery } = this.#config.checkpoint;
    await applyRetention(runFolder(this.#config), {
      keepLast,
      keepEvery: keepEvery === 0 ? null : keepEvery,
      justSaved: saved.path,
      protect: state.stability.snapshots.filter(({ disk }) => disk).map(({ step }) => step),
    });
  }
}

/** Only a checkpoint's own errors are survived. */
function checkpointError(error: unknown): CheckpointError {
  if (error instanceof CheckpointError) return error;
  throw error;
}
