/**
 * Opening a checkpoint: everything is verified (checksums, names, shapes, dtypes) before any byte
 * reaches a model.
 *
 * @module
 */

import { basename, join } from "@std/path";
import * as z from "zod";
import type { BitNetConfig } from "../model/config.ts";
import { checkShape, readFileUpTo, readTextUpTo, wholeNumber } from "../std/json.ts";
import {
  type OwnParameter,
  readHuggingFaceConfig,
  type SpecialTokens,
} from "../interop/huggingface.ts";
import { SafetensorsFile, type TensorSink } from "../interop/safetensors.ts";
import type { TensorSpec } from "../interop/safetensors_header.ts";
import { canWiden, checkSinks, compareTensors, loadTensors } from "../interop/tensor_transfer.ts";
import { checksumFile, type Checksums, MAX_CHECKSUMS_BYTES, parseChecksums } from "./checksums.ts";
import { MAX_RUN_CONFIG_BYTES } from "./run_config_yaml.ts";
import { asCheckpointErrors, CheckpointError, checkpointJson } from "./errors.ts";
import { FILES, MAX_TOKENIZER_BYTES, REQUIRED_FILES } from "./layout.ts";
import { isFolder } from "./run_folder.ts";
import {
  type ModelTensor,
  type OptimizerState,
  optimizerState,
  optimizerTensors,
} from "./optimizer_tensors.ts";
import { modelTensors, type TrainerProgress } from "./save.ts";
import { decodeState, MAX_STATE_BYTES } from "./state_json.ts";

export type { TensorSink } from "../interop/safetensors.ts";

/** A trainer's state as it comes off the disk: whoever wrote the other fields checks them. */
export interface TrainerState extends TrainerProgress {
  readonly [field: string]: unknown;
}

/** Options of {@linkcode openCheckpoint}. */
export interface OpenCheckpointOptions {
  /** Whether to read every file through and compare its digest. Sizes are always compared. @default true */
  readonly checksums?: boolean;
}

/** A verified checkpoint. Holds no file open. */
export class Checkpoint {
  /** The checkpoint's folder. */
  readonly path: string;
  readonly step: number;
  readonly config: BitNetConfig;
  readonly specialTokens: SpecialTokens;
  readonly state: TrainerState;
  /** The resolved run configuration as YAML. */
  readonly runConfig: string;
  readonly tokenizerJson: Uint8Array | null;
  /** Kinds of layers that were a program's own. */
  readonly ownLayers: readonly string[];
  /** Parameters that those added to BitNet's. */
  readonly ownParameters: readonly OwnParameter[];
  /** Whether training can resume from it. */
  readonly hasOptimizer: boolean;
  /** What its moments are kept in; null where it has none. */
  readonly optimizerState: OptimizerState | null;

  /** Made by {@linkcode openCheckpoint}. */
  constructor(fields: Omit<Checkpoint, "loadParameters" | "loadOptimizer" | "restore">) {
    this.path = fields.path;
    this.step = fields.step;
    this.config = fields.config;
    this.specialTokens = fields.specialTokens;
    this.state = fields.state;
    this.runConfig = fields.runConfig;
    this.tokenizerJson = fields.tokenizerJson;
    this.ownLayers = fields.ownLayers;
    this.ownParameters = fields.ownParameters;
    this.hasOptimizer = fields.hasOptimizer;
    this.optimizerState = fields.optimizerState;
  }

  /**
   * Fills the model's parameters.
   *
   * @throws {CheckpointError}, before anything is written, when the sinks are not exactly the
   * checkpoint's tensors.
   */
  loadParameters(sinks: readonly TensorSink[]): Promise<void> {
    return this.#load(FILES.model, sinks);
  }

  /**
   * Fills the optimizer's state.
   *
   * @throws {CheckpointError}, before anything is written, when the sinks are not exactly the
   * checkpoint's tensors in their dtypes, or it was saved without an optimizer.
   */
  async loadOptimizer(sinks: readonly TensorSink[]): Promise<void> {
    await this.#requireOptimizer(sinks);
    await this.#load(FILES.optimizer, sinks);
  }

  /**
   * Fills parameters and optimizer; both are checked before either is written.
   *
   * @throws {CheckpointError} as the two loads do.
   */
  async restore(
    sinks: { parameters: readonly TensorSink[]; optimizer: readonly TensorSink[] },
  ): Promise<void> {
    await this.#requireOptimizer(sinks.optimizer);
    await asCheckpointErrors(`load ${this.path}`, () => {
      using model = SafetensorsFile.open(join(this.path, FILES.model));
      using optimizer = SafetensorsFile.open(join(this.path, FILES.optimizer));
      checkSinks(model, sinks.parameters);
      checkSinks(optimizer, sinks.optimizer, { accepts: (found, wanted) => found === wanted });
      return Promise.resolve();
    });
    await this.#load(FILES.model, sinks.parameters);
    await this.#load(FILES.optimizer, sinks.optimizer);
  }

  #load(name: string, sinks: readonly TensorSink[]): Promise<void> {
    return asCheckpointErrors(`load ${this.path}`, async () => {
      using file = SafetensorsFile.open(join(this.path, name));
      await loadTensors(file, sinks);
    });
  }

  /** Moments are never converted: a rounded state is another run, a widened one hides that it was rounded. */
  async #requireOptimizer(sinks: readonly TensorSpec[]): Promise<void> {
    if (!this.hasOptimizer) {
      throw new CheckpointError(
        `Cannot resume from ${this.path} as it must hold ${FILES.optimizer}: ` +
          `current value is no such file; it was saved to run the model, not to train it further`,
      );
    }
    const wanted = optimizerState(sinks);
    if (wanted === this.optimizerState) return;
    await asCheckpointErrors(`load ${this.path}`, () => {
      using file = SafetensorsFile.open(join(this.path, FILES.optimizer));
      for (const { name, dtype } of sinks) {
        const found = file.tensors.get(name)?.dtype ?? dtype;
        if (found === dtype) continue;
        throw new CheckpointError(
          `Cannot resume from ${this.path} as tensor "${name}" must be ${dtype} where optimizer.state is ${wanted}: ` +
            `current value is ${found}; go on with optimizer.state ${this.optimizerState}`,
        );
      }
      return Promise.resolve();
    });
  }
}

/**
 * Verifies a checkpoint and opens it.
 *
 * @param path A checkpoint's folder, `checkpoints/<run>/step_0000100`.
 * @throws {CheckpointError} naming every file that is missing, cut off, changed, or of another shape
 * than its config says.
 */
export async function openCheckpoint(
  path: string,
  options: OpenCheckpointOptions = {},
): Promise<Checkpoint> {
  const { problems, checkpoint } = await inspect(path, options.checksums ?? true);
  if (checkpoint === null) {
    throw new CheckpointError(`Cannot open checkpoint ${path}: ${problems.join("; ")}`);
  }
  return checkpoint;
}

/** Says everything that is wrong with a checkpoint, a line each; an empty list means it is sound. */
export async function verifyCheckpoint(path: string): Promise<string[]> {
  return (await inspect(path, true)).problems;
}

/** What to do where a file is not what was saved. */
const DAMAGED = "copy the file again, or take another checkpoint";

/**
 * Compares the files of a checkpoint with its checksums.json: first that all are there, then sizes,
 * then digests.
 *
 * @param options `only`: the files to look at. @default all; `digests`: whether to read them through.
 * @returns What is wrong, a line each.
 */
export async function compareFiles(
  path: string,
  checksums: Checksums,
  options: { only?: readonly string[]; digests: boolean },
): Promise<string[]> {
  const problems: string[] = [];
  for (const [name, wanted] of checksums) {
    if (options.only !== undefined && !options.only.includes(name)) continue;
    const size = sizeOf(join(path, name));
    if (size === null) {
      problems.push(`${name} is missing`);
    } else if (size !== wanted.bytes) {
      problems.push(
        `${name} must be ${wanted.bytes} bytes: current value is ${size}; ${DAMAGED}`,
      );
    }
  }
  if (problems.length > 0 || !options.digests) return problems;
  for (const [name, wanted] of checksums) {
    if (options.only !== undefined && !options.only.includes(name)) continue;
    const { sha256 } = await checksumFile(join(path, name));
    if (sha256 !== wanted.sha256) {
      problems.push(
        `${name} was changed or damaged: sha256 must be ${wanted.sha256}: current value is ${sha256}; ${DAMAGED}`,
      );
    }
  }
  return problems;
}

/** Reads a checkpoint's checksums.json, or null when it has none. */
export function readChecksums(path: string): Checksums | null {
  const file = join(path, FILES.checksums);
  if (sizeOf(file) === null) return null;
  const bytes = readFileUpTo(checkpointJson(file, { maxBytes: MAX_CHECKSUMS_BYTES }));
  return parseChecksums(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes), file);
}

/** The bytes of the tokenizer.json in a folder; whoever loads it checks them. */
export function readTokenizerJson(path: string): Uint8Array {
  const file = join(path, FILES.tokenizer);
  return readFileUpTo(checkpointJson(file, { maxBytes: MAX_TOKENIZER_BYTES }));
}

async function inspect(
  path: string,
  digests: boolean,
): Promise<{ problems: string[]; checkpoint: Checkpoint | null }> {
  try {
    return await asCheckpointErrors(`open checkpoint ${path}`, async () => {
      const checksums = isFolder(path) ? readChecksums(path) : null;
      if (checksums === null) {
        const problem = isFolder(path)
          ? `${FILES.checksums} is missing: the folder is no checkpoint, or was not finished`
          : `there is no such folder; give one like checkpoints/<run>/step_0000100`;
        return { problems: [problem], checkpoint: null };
      }
      const problems = REQUIRED_FILES.filter((name) => !checksums.has(name))
        .map((name) => `${FILES.checksums} must list ${name}`);
      problems.push(...await compareFiles(path, checksums, { digests }));
      if (problems.length > 0) return { problems, checkpoint: null };
      return read(path, checksums);
    });
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw error;
    return { problems: [error.message], checkpoint: null };
  }
}

function read(
  path: string,
  checksums: Checksums,
): { problems: string[]; checkpoint: Checkpoint | null } {
  const configPath = join(path, FILES.modelConfig);
  const { config, specialTokens, ownLayers, ownParameters } = readHuggingFaceConfig(configPath);
  const wanted = modelTensors(config, ownParameters);
  const problems = compareWithModel(join(path, FILES.model), wanted);
  const hasOptimizer = checksums.has(FILES.optimizer);
  let state: OptimizerState | null = null;
  if (hasOptimizer) {
    const found = compareOptimizer(join(path, FILES.optimizer), wanted);
    problems.push(...found.problems);
    state = found.state;
  }
  if (problems.length > 0) return { problems, checkpoint: null };
  const progress = readState(join(path, FILES.state));
  const checkpoint = new Checkpoint({
    path,
    step: progress.step,
    config,
    specialTokens,
    ownLayers,
    ownParameters,
    state: progress,
    runConfig: readTextUpTo(
      checkpointJson(join(path, FILES.runConfig), { maxBytes: MAX_RUN_CONFIG_BYTES }),
    ),
    tokenizerJson: checksums.has(FILES.tokenizer) ? readTokenizerJson(path) : null,
    hasOptimizer,
    optimizerState: state,
  });
  return { problems, checkpoint };
}

function compareWithModel(path: string, wanted: readonly TensorSpec[]): string[] {
  using file = SafetensorsFile.open(path);
  return compareTensors(file.tensors, wanted, { accepts: canWiden })
    .map((problem) => `${basename(path)}: ${problem}`);
}

/** The moments' dtypes tell which tensors must be there. */
function compareOptimizer(
  path: string,
  parameters: readonly ModelTensor[],
): { problems: string[]; state: OptimizerState } {
  using file = SafetensorsFile.open(path);
  const state = optimizerState(file.tensors.values());
  const problems = compareTensors(file.tensors, optimizerTensors(parameters, state))
    .map((problem) => `${basename(path)}: ${problem}`);
  return { problems, state };
}

const progressSchema = z.looseObject({ step: wholeNumber(), tokens: wholeNumber() }, {
  error: "a JSON object",
});

function readState(path: string): TrainerState {
  const file = checkpointJson(path, { maxBytes: MAX_STATE_BYTES });
  const state = decodeState(readFileUpTo(file), path);
  checkShape(state, progressSchema, file);
  return state as TrainerState;
}

function sizeOf(path: string): number | null {
  try {
    const { isFile, size } = Deno.statSync(path);
    return isFile ? size : null;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}
